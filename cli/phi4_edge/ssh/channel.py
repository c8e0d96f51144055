"""A command on a host: on a channel of a connection of ours, or in a process of OpenSSH where only that gets in."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from phi4_edge.core.inventory import Host
from phi4_edge.core.text import printable
from phi4_edge.environment import Need, allowed
from phi4_edge.ssh.command import arguments

if TYPE_CHECKING:
    from paramiko import Channel, Transport

PIECE = 64 * 1024
END_SECONDS = 0.5  # that ssh gets to end by itself
# BatchMode: nobody is asked. ControlMaster: this process must be the connection, a new shared one would outlive it; one
# that is open already is used. The first value wins in ssh.
OWN = ("BatchMode=yes", "ServerAliveInterval=15", "ControlMaster=no")


class SessionChannel:
    """A command over a connection of ours. Its two streams come as one until `apart`, such that either ends a wait."""

    def __init__(self, transport: Transport, command: str, seconds: float, together: bool) -> None:
        """It runs. Raises what paramiko does, and OSError."""
        self._channel: Channel = transport.open_session(timeout=seconds)
        self._channel.settimeout(seconds)
        if together:
            self._channel.set_combine_stderr(True)
        self._channel.exec_command(command)

    def send(self, data: bytes) -> int:
        self._channel.sendall(data)
        return len(data)

    def end_input(self) -> None:
        self._channel.shutdown_write()

    def receive(self, seconds: float) -> tuple[bytes, bytes] | None:
        self._channel.settimeout(max(seconds, 0.001))
        output = self._channel.recv(PIECE)
        errors = self._channel.recv_stderr(PIECE) if not output or self._channel.recv_stderr_ready() else b""
        return (output, errors) if output or errors else None

    def apart(self) -> None:
        self._channel.set_combine_stderr(False)

    def status(self, seconds: float) -> int | None:
        if not self._channel.status_event.wait(seconds):
            return None
        code = self._channel.recv_exit_status()
        return None if code < 0 else code

    # As of a socket, for who reads a stream of it within a budget.

    def fileno(self) -> int:
        """Below 0 once it is closed; of no other use, and paramiko's own would open a pipe."""
        return -1 if self._channel.closed else 0

    def settimeout(self, seconds: float | None) -> None:
        """How long one step may block."""
        self._channel.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        """What comes next of standard output."""
        return self._channel.recv(size)

    def shutdown(self, how: int) -> None:
        """Ends what reads and writes."""
        self._channel.close()

    def last_words(self, most: int) -> str:
        """What it wrote last to standard error, on one line; "" for nothing."""
        said = b""
        while self._channel.recv_stderr_ready() and len(said) < most:
            said += self._channel.recv_stderr(PIECE)
        return last_lines(said)

    def close(self) -> None:
        """It is over here; a program that goes on there is its own."""
        with contextlib.suppress(OSError, EOFError):  # its connection may have ended, or been cut
            self._channel.close()


def last_lines(said: bytes) -> str:
    """The last words of a program, on one line."""
    lines = printable(said[-4000:].decode("utf-8", "replace")).splitlines()
    return "; ".join(line for line in lines[-3:] if line.strip())[:300]


def ssh_words(host: Host) -> list[str]:
    """The ssh command up to the address, as Ansible calls it for this host, and asking nobody. No secrets in it.

    Raises ValueError for arguments that cannot be read.
    """
    return [host.ssh.executable, "-T", *(word for option in OWN for word in ("-o", option)), *arguments(host)]


class ProcessChannel:
    """A command through OpenSSH, which knows ways in that a connection of ours does not. `cut` ends it at once."""

    def __init__(self, host: Host, command: str) -> None:
        """It runs. Raises OSError where there is no ssh, and ValueError for arguments that cannot be read."""
        self._process = subprocess.Popen(
            [*ssh_words(host), "--", host.address, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle, and there is no terminal to ask on
            env={**allowed(os.environ, Need.SSH), "LC_ALL": "C"},
        )
        self._input = self._process.stdin
        self._selector = selectors.DefaultSelector()
        for stream, number in ((self._process.stdout, 0), (self._process.stderr, 1)):
            self._selector.register(_handle(stream), selectors.EVENT_READ, number)

    def send(self, data: bytes) -> int:
        """It reads this; what it does not read by itself stays in a pipe, which our scripts are small enough for."""
        if self._input is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its own words say why
                self._input.write(data)
                self._input.flush()
        return len(data)

    def end_input(self) -> None:
        stream, self._input = self._input, None
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def receive(self, seconds: float) -> tuple[bytes, bytes] | None:
        found = [b"", b""]
        if not self._selector.get_map():
            return None
        ready = self._selector.select(max(seconds, 0.001))
        if not ready:
            raise TimeoutError(f"nothing within {seconds:g} s")
        for key, _ in ready:
            piece = os.read(key.fd, PIECE)
            if not piece:
                self._selector.unregister(key.fileobj)
            found[key.data] = piece
        return found[0], found[1]

    def apart(self) -> None:
        """They always are."""

    def status(self, seconds: float) -> int | None:
        try:
            code = self._process.wait(max(seconds, END_SECONDS))
        except subprocess.TimeoutExpired:
            return None
        return None if code < 0 else code

    def cut(self) -> None:
        """It ends now, from any thread; it stays to be closed by its owner."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """The process and those that it started have ended."""
        self.end_input()
        end = time.monotonic() + END_SECONDS
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end - time.monotonic()))
        self._signal(signal.SIGKILL)  # a jump host's or proxy's process too, which may outlive ssh
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of the group have ended
            os.killpg(self._process.pid, number)


def _handle(stream: Any) -> int:
    return int(stream.fileno())
