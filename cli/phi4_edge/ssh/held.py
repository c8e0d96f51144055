"""One ssh process that does something on a host for as long as this process holds on to it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading

from phi4_edge.core.inventory import Host
from phi4_edge.core.text import printable
from phi4_edge.environment import Need, allowed
from phi4_edge.errors import UnreachableError
from phi4_edge.ssh.command import arguments

OPEN_SECONDS = 40.0  # beyond the time that ssh itself may take to connect
END_SECONDS = 0.5
_KEPT = 8192  # bytes of what ssh and the host said last


def options(host: Host) -> list[str]:
    """The words of ssh before those of what is to be done; no secrets in them.

    Raises UnreachableError for a host that is not reached over ssh with keys.
    """
    if not host.over_ssh:
        raise UnreachableError(f"the connection is {host.connection}, not ssh")
    if host.ssh.password:
        raise UnreachableError("the login is by password, and nobody could type it for a second connection")
    own = {
        # The first value counts. A shared connection would outlive this process, and ssh tells the port it was given
        # as information.
        "BatchMode": "yes", "ControlMaster": "no", "ControlPath": "none", "LogLevel": "INFO", "Compression": "no",
        "ServerAliveInterval": "15", "ServerAliveCountMax": "4",
    }  # fmt: skip
    try:
        theirs = arguments(host)
    except ValueError as error:
        raise UnreachableError(f"its arguments of ssh cannot be read ({error})") from error
    return [host.ssh.executable, "-T", *(word for name in own for word in ("-o", f"{name}={own[name]}")), *theirs]


class Held:
    """It runs until it is closed, or this process ends: then its standard input ends.

    `found`: what `awaited` matched of what ssh and the host said.
    """

    def __init__(self, words: list[str], awaited: re.Pattern[bytes], seconds: float, given: bytes = b"") -> None:
        """`given` goes to its standard input. Raises UnreachableError where `awaited` is not said in time."""
        self._said = bytearray()
        self._told = threading.Event()
        self._awaited = awaited
        self.found: re.Match[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle, and there is no terminal to ask on
                env={**allowed(os.environ, Need.SSH), "LC_ALL": "C"},
            )
        except OSError as error:
            raise UnreachableError(f"there is no ssh to run ({error.strerror})") from error
        threads = (
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._give, args=(given,)),
        )
        self._threads = threads
        for thread in threads:
            thread.daemon = True
            thread.start()
        try:
            self._told.wait(seconds)
            if self.found is None:
                raise UnreachableError(self._why())
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def _give(self, given: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended; why is in what it said
            if self._process.stdin is not None:
                self._process.stdin.write(given)
                self._process.stdin.flush()

    def _listen(self) -> None:
        """What is said is read to its end, so that nobody waits for us; the last of it is kept."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            while block := os.read(stream.fileno(), _KEPT):
                self._said += block
                if self.found is None and (found := self._awaited.search(bytes(self._said))):
                    self.found = found
                    self._told.set()
                del self._said[: -2 * _KEPT]
        self._told.set()

    def _why(self) -> str:
        lines = printable(bytes(self._said).decode("utf-8", "replace")).splitlines()
        said = "; ".join(line.strip() for line in lines if line.strip())
        return said[-300:] or "nothing was said in time"

    def close(self) -> None:
        """The process and those that it started have ended; closing twice does nothing more."""
        for number in (signal.SIGTERM, signal.SIGKILL):  # then a jump host's or proxy's, which may outlive ssh
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        self._process.wait()
        for thread in self._threads:
            thread.join(END_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
