"""One connection to a worker over OpenSSH, and the handshake that says whether it can be used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from phi4_edge import __version__, content
from phi4_edge.core.text import printable
from phi4_edge.environment import Need, allowed
from phi4_edge.errors import PreflightError, RunnerError

FORMAT = "phi4-edge/worker/1"
SSH_ARGS = "PHI4_EDGE_WORKER_SSH_ARGS"
# The other end's shell may be any; programs of one user are often only in the last of these folders.
REMOTE = "sh -c 'PATH=\"$PATH:/usr/local/bin:$HOME/.local/bin\"; export PATH; exec phi4-edge worker'"
_ANSWER_SECONDS = 60.0
_NOISE = 65536  # bytes that a login may print before the worker speaks
_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?"
)


class WorkerLostError(RunnerError):
    """The connection to a worker ended before its job did."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"lost worker {worker}: {reason}")
        self.worker, self.reason = worker, reason


@dataclass(frozen=True)
class Hello:
    """Who a worker is: its version, a digest of its code and roles, and where its store is. `cpus` is what it has."""

    version: str
    code: str
    store: str
    cpus: int = 1

    @classmethod
    def mine(cls, store: str) -> Hello:
        """What this machine would say of itself."""
        return cls(__version__, code_digest(), store, len(os.sched_getaffinity(0)))

    def line(self) -> dict[str, Any]:
        """The first line that a worker says."""
        return {"format": FORMAT, "version": self.version, "code": self.code, "store": self.store, "cpus": self.cpus}

    @classmethod
    def read(cls, line: bytes) -> Hello | None:
        """None when the line is something else."""
        try:
            found = json.loads(line)
            if found["format"] == FORMAT:
                return cls(str(found["version"]), str(found["code"]), str(found["store"]), max(1, int(found["cpus"])))
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        return None


def code_digest() -> str:
    """SHA-256 over this package and its collection: equal where the same things would be done."""
    package = content.package()
    total = hashlib.sha256(content.digest(*content.PARTS).encode())
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and not content.leftover(inside):
            total.update(f"{inside.as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def ssh_command(target: str, remote: str = REMOTE, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The ssh invocation for a worker `[user@]host[:port]`. Raises PreflightError for anything else.

    Host keys must be known, nothing is asked, and a connection that died is noticed within 30 seconds.
    """
    match = _TARGET.fullmatch(target)
    if match is None or int(match["port"] or 1) > 65535:
        raise PreflightError(
            f"found worker {printable(target, 200, lines=False)!r}, needed user@host or user@host:port"
        )
    argv = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ForwardX11=no"]
    argv += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6", "-o", "ConnectTimeout=20"]
    argv += ["-o", "ControlMaster=no", "-o", "ControlPath=none", *shlex.split(environ.get(SSH_ARGS, ""))]
    argv += ["-p", match["port"]] if match["port"] else []
    argv += ["-l", match["user"]] if match["user"] else []
    return [*argv, "--", match["host"].strip("[]"), remote]


def host_of(target: str) -> str:
    """The name of a worker without user and port."""
    match = _TARGET.fullmatch(target)
    return match["host"].strip("[]") if match else target


class Link:
    """An open connection. `sink` is what the worker reads, `source` what it says; leaving it ends both sides."""

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name = name
        # In a session of its own: Ctrl-C at the terminal must not end it before its job.
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=allowed(os.environ, Need.SSH),
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101 - they are pipes
        self.sink: IO[bytes] = self._process.stdin
        self.source: IO[bytes] = self._process.stdout
        self._errors: deque[str] = deque(maxlen=20)
        self._stderr: IO[bytes] = self._process.stderr
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self) -> None:
        with suppress(OSError, ValueError), self._stderr:
            for line in self._stderr:
                self._errors.append(printable(line.decode(errors="replace").strip(), 300))

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *ended: object) -> None:
        if any(ended):  # something went wrong: what is still to be written may never be read
            self.cut()
        with suppress(OSError):
            self.sink.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.cut()
            self._process.wait()
        self._reader.join(1)
        self.source.close()

    def cut(self) -> None:
        """The connection is ended, without a word."""
        self._process.kill()

    def say(self, line: Mapping[str, Any]) -> None:
        """One line to the worker. Raises OSError when the connection is gone."""
        self.sink.write(json.dumps(line).encode() + b"\n")
        self.sink.flush()

    def words(self) -> str:
        """What ssh or the worker last said on standard error, as one line."""
        return " ".join(line for line in self._errors if line)[-600:]

    def greet(self) -> Hello:
        """Who is there. Raises WorkerLostError when nobody says so in time."""
        timer = threading.Timer(_ANSWER_SECONDS, self.cut)
        timer.start()
        try:
            read = 0
            while read < _NOISE and (line := self.source.readline(_NOISE)):
                read += len(line)
                if hello := Hello.read(line):
                    return hello
        finally:
            timer.cancel()
        self._process.kill()
        self._process.wait()
        self._reader.join(1)
        raise WorkerLostError(self.name, self.words() or "it does not answer as a worker")


def connect(target: str, argv: list[str] | None = None) -> tuple[Link, Hello]:
    """A connection to the worker, which has said that it is what this controller is.

    Raises WorkerLostError when it cannot be reached, and PreflightError when it is another version.
    """
    link = Link(target, argv or ssh_command(target))
    try:
        hello = link.greet()
        _check(target, hello)
    except BaseException:
        link.cut()
        link.__exit__()
        raise
    return link, hello


def _check(target: str, hello: Hello) -> None:
    version = printable(hello.version, 40, lines=False)
    if hello.version != __version__:
        raise PreflightError(
            f"found phi4-edge {version} on worker {target}, needed {__version__} as here: install it there with "
            f"pip install phi4-edge=={__version__}"
        )
    if hello.code != code_digest():
        raise PreflightError(
            f"found other files of phi4-edge {version} on worker {target} than here, needed the same: install "
            "the wheel there that this controller was installed from"
        )
