"""HTTP to a port of a gateway's loopback interface, through one `ssh -W` process and nothing that listens here."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

from phi4_edge.core.reach import Host, answering
from phi4_edge.errors import UnreachableError

CONNECT_SECONDS = 10


def ssh_command(host: Host, bind: str, port: int) -> list[str]:
    """The ssh command whose standard input and output are a connection to `bind:port` on the host. No secrets in it.

    Raises UnreachableError for a host that is not reached over ssh with keys.
    """
    if not host.over_ssh:
        raise UnreachableError(
            f"found connection {host.connection} of host {host.name}, needed ssh: ask the service on the host itself"
        )
    if host.ssh.password:
        raise UnreachableError(
            f"found a password as the way into host {host.name}, needed a key: ssh-copy-id, then remove the password"
        )
    address = answering(bind)
    command = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    # ControlMaster: this process must be the connection, a shared one would outlive it. The first value wins in ssh.
    command += ["-o", "ServerAliveInterval=15", "-o", "ControlMaster=no"]
    command += ["-p", str(host.port)] if host.port else []
    command += ["-l", host.user] if host.user else []
    if host.ssh.private_key_file:
        command += ["-i", str(Path(host.ssh.private_key_file).expanduser())]
    for arguments in (host.ssh.ssh_args, host.ssh.common_args, host.ssh.extra_args):
        command += shlex.split(arguments)
    return [*command, "-W", f"[{address}]:{port}" if ":" in address else f"{address}:{port}", "--", host.address]


class Stream:
    """A connected socket to the host's port and the ssh process behind it. Closing it ends the process."""

    def __init__(self, host: Host, bind: str, port: int) -> None:
        self._name, self._what = host.name, f"{bind}:{port}"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                ssh_command(host, bind, port),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is ours to handle, and there is no terminal to ask on
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, UnreachableError) as error:
            self.socket.close()
            self._errors.close()
            if isinstance(error, UnreachableError):
                raise
            raise UnreachableError(f"found no ssh to run ({error.strerror}), needed OpenSSH: install it") from error
        finally:
            theirs.close()

    def failure(self) -> UnreachableError:
        """Why the connection ended without an answer, in ssh's own words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._errors.seek(0)
        said = self._errors.read(4000).decode("utf-8", "replace")
        lines = ["".join(letter if letter.isprintable() else "?" for letter in line) for line in said.splitlines()]
        last = "; ".join(line for line in lines[-3:] if line.strip())[:300] or "the connection ended"
        if "open failed" in last or "stdio forwarding failed" in last:
            return UnreachableError(
                f"found nothing that listens on {self._what} of host {self._name} ({last}), needed a running service: "
                "see phi4-edge status, and journalctl -u phi4-edge there"
            )
        return UnreachableError(f"found no answer from host {self._name} ({last}), needed one: check phi4-edge status")

    def close(self) -> None:
        """The process has ended; closing twice does nothing more."""
        self.socket.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_stream(host: Host, bind: str, port: int) -> Stream:
    """A byte stream to `bind:port` on the host. Whether it got there shows when it is read: see Stream.failure()."""
    return Stream(host, bind, port)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Stream. The answer may be read piece by piece until close()."""

    def __init__(self, host: Host, bind: str, port: int, timeout: float) -> None:
        super().__init__(answering(bind), port, timeout=timeout)
        self._way = (host, bind, port)
        self._stream: Stream | None = None
        self._answering = False

    def connect(self) -> None:
        self._end()
        self._stream = open_stream(*self._way)
        self._stream.socket.settimeout(self.timeout)
        self.sock = self._stream.socket

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)
        except UnreachableError:
            raise  # it is a ConnectionError too, and says more than we could
        except ConnectionError as error:
            raise self._failure() from error

    def getresponse(self) -> http.client.HTTPResponse:
        self._answering = True  # http.client closes us for "Connection: close" while the body is still to be read
        try:
            return super().getresponse()
        except TimeoutError as error:
            raise UnreachableError(
                f"found no answer from host {self._way[0].name} in {self.timeout} s, needed one: the host may be too "
                "slow for this request; ask for fewer tokens"
            ) from error
        except (ConnectionError, http.client.BadStatusLine) as error:
            raise self._failure() from error
        finally:
            self._answering = False

    def _failure(self) -> UnreachableError:
        return self._stream.failure() if self._stream else UnreachableError("found no connection, needed one")

    def close(self) -> None:
        super().close()
        if not self._answering:
            self._end()

    def _end(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def http_connection(host: Host, bind: str, port: int, timeout: float = 300.0) -> http.client.HTTPConnection:
    """An HTTP connection to `bind:port` on the host; a local host is reached directly. close() ends its ssh process.

    `timeout` is in seconds between two pieces of an answer: reading a long prompt takes minutes on a small board.
    request() and getresponse() raise UnreachableError with ssh's own words.
    """
    if host.connection in ("local", "ansible.builtin.local"):
        return http.client.HTTPConnection(answering(bind), port, timeout=timeout)
    return _Connection(host, bind, port, timeout)
