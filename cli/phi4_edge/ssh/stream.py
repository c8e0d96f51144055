"""A byte stream to a TCP port of a host; at its other end is the relay, which first says who has the port."""

from __future__ import annotations

import abc
import base64
import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

from phi4_edge.core.facts import listener
from phi4_edge.core.inventory import Host, answering
from phi4_edge.environment import Need, allowed
from phi4_edge.errors import HostFailedError, UnreachableError
from phi4_edge.ssh import interpreter, relay
from phi4_edge.ssh.channel import SessionChannel, last_lines, ssh_words
from phi4_edge.ssh.errand import SUDO, SUDO_ASKED, Rights
from phi4_edge.ssh.wire import Budget, Wire

END_SECONDS = 0.5  # that ssh gets to end by itself
MOST_GREETING = 64 * 1024  # bytes: what a login shell prints, and one line of the relay
MOST_ERRORS = 64 * 1024  # a pipe's own size: what ssh writes beyond waits there, and takes neither memory nor disk
_RELAY = Path(relay.__file__)
# As the user that logs in.
LOGIN = Rights(sudo=False)

if TYPE_CHECKING:
    from paramiko import Transport


class GuardedError(UnreachableError):
    """The port is there, and a user of the host is kept from it; root is not."""

    def __init__(self, name: str, what: str, why: str) -> None:
        super().__init__(
            f"found that {what} of host {name} is for its gateway and root alone ({why}), needed one of them: give "
            "--ask-become-pass or let the user become root there, or ask with --via gateway --gateway-key FILE"
        )


def ssh_command(host: Host, bind: str, port: int, mark: str, rights: Rights = LOGIN) -> list[str]:
    """The ssh command whose standard input and output are a connection to `bind:port` on the host. No secrets in it.

    The host writes `mark` in front of what it says about the port. Raises UnreachableError for a host that is not
    reached over ssh with keys.
    """
    if not host.over_ssh:
        raise UnreachableError(
            f"found connection {host.connection} of host {host.name}, needed ssh: ask the service on the host itself"
        )
    if host.ssh.password:
        raise UnreachableError(
            f"found a password as the login for host {host.name}, needed a key: ssh-copy-id, then remove the password"
        )
    try:
        command = ssh_words(host)
    except ValueError as error:
        raise UnreachableError(
            f"found arguments of ssh for host {host.name} that cannot be read ({error}), needed balanced quotes: see "
            "ansible_ssh_args, ansible_ssh_common_args and ansible_ssh_extra_args"
        ) from error
    return [*command, "--", host.address, relay_command(host, bind, port, mark, rights)]


def relay_command(host: Host, bind: str, port: int, mark: str, rights: Rights = LOGIN) -> str:
    """The command that runs the relay on the host, which writes `mark` in front of what it says about the port.

    Sudo that may want a password asks for it with `mark` too, among the output: the two streams are one until then.
    """
    packed = base64.b64encode(zlib.compress(_RELAY.read_bytes(), 9)).decode()
    run = f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))"
    command = interpreter.command(host, shlex.join(["-IBc", run, mark, answering(bind), str(port)]))
    if not rights.sudo:
        return command
    if not rights.password:
        return f"{SUDO} {command}"
    return f"/bin/sh -c {shlex.quote(f'{SUDO_ASKED.format(prompt=_asking(mark))} {command} 2>&1')}"


def _asking(mark: str) -> str:
    return f"{mark}:ASK"


def understood(text: bytes, name: str, what: str) -> listener.Judgement:
    """Whose the port `what` of host `name` is, from what the relay says there.

    Raises UnreachableError when it could not connect, and HostFailedError for words that are none of ours.
    """
    try:
        found = listener.read(text)
    except listener.Unreadable as error:
        raise HostFailedError(
            f"found an invalid answer from host {name} about its port ({error}), needed who listens there: run "
            "phi4-edge doctor"
        ) from error
    if isinstance(found, listener.Refused) and found.guarded:
        raise GuardedError(name, what, "it is not root that asks")
    if isinstance(found, listener.Refused):
        raise UnreachableError(
            f"found nothing that listens on {what} of host {name} ({found.reason}), needed a running service: see "
            "phi4-edge status, and journalctl -u phi4-edge there"
        )
    return found if isinstance(found, listener.Judgement) else listener.judge(found)


class Stream(abc.ABC):
    """A wire to the host's port. Closing it ends what is behind it, at both ends."""

    wire: Wire

    def __init__(self, host: Host, bind: str, port: int, rights: Rights) -> None:
        self._name, self._what, self._mark = host.name, f"{bind}:{port}", secrets.token_hex(16)
        self._rights = rights

    def failure(self) -> UnreachableError:
        """Why the connection ended without an answer, in the words of who knows."""
        last = self._last_words() or "the connection ended"
        return UnreachableError(f"found no answer from host {self._name} ({last}), needed one: check phi4-edge status")

    @abc.abstractmethod
    def cut(self) -> None:
        """The stream and what is behind it end now, from any thread; it stays to be closed by its owner."""

    @abc.abstractmethod
    def close(self) -> None:
        """All of it has ended; closing twice does nothing more."""

    def greet(self) -> listener.Judgement:
        """Who has the port, as the host says; the wire is then connected to it.

        Raises UnreachableError when the host could not connect or gave no answer, OverBudget in spite of the budget,
        and HostFailedError for an answer that is none of ours.
        """
        return understood(self._greeting(), self._name, self._what)

    def _greeting(self) -> bytes:
        """What follows the mark on its line. The port itself says nothing before it is asked.

        A password goes to sudo once, and only where it asks: else it would go to the port.
        """
        start, said = f"\n{self._mark} ".encode(), bytearray(b"\n")
        ask, given = _asking(self._mark).encode(), False
        while len(said) < MOST_GREETING:
            piece = self._receive()
            if not piece:
                raise self._no_root(said) if self._rights.sudo else self.failure()
            seen = max(0, len(said) - MOST_GREETING)
            said += piece
            if self._rights.password and said.count(ask) > given:
                if given:
                    raise self._no_root(said)
                self.wire.sendall(self._rights.password.encode() + b"\n")
                given = True
            at = said.find(start, seen)
            if at >= 0 and (end := said.find(b"\n", at + 1)) >= 0:
                return bytes(said[at + len(start) : end])
        raise HostFailedError(
            f"found more than {MOST_GREETING} bytes from the login shell of host {self._name}, needed a quiet one"
        )

    def _no_root(self, said: bytearray) -> UnreachableError:
        """Why the relay did not come to run as root, in the last words that say so."""
        if self._rights.password:
            shown = last_lines(bytes(said).replace(_asking(self._mark).encode(), b"")) or "no answer"
            return GuardedError(self._name, self._what, f"sudo with the given password: {shown}")
        return GuardedError(self._name, self._what, f"root is not become: {self._last_words() or 'no answer'}")

    @abc.abstractmethod
    def _last_words(self) -> str:
        """What was written last to standard error, on one line."""

    def _receive(self) -> bytes:
        try:
            return self.wire.recv(4096)
        except ConnectionError as error:
            raise self.failure() from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ProcessStream(Stream):
    """Over an ssh process of its own, which ends with it, and so do the processes that it started.

    `local`: the host is this machine, and the process is one that becomes root here.
    """

    def __init__(
        self, host: Host, bind: str, port: int, budget: Budget, rights: Rights = LOGIN, local: bool = False
    ) -> None:
        super().__init__(host, bind, port, rights)
        here = ["/bin/sh", "-c", relay_command(host, bind, port, self._mark, rights)]
        command = here if local else ssh_command(host, bind, port, self._mark, rights)
        ours, theirs = socket.socketpair()
        self._errors, errors = os.pipe()
        os.set_blocking(self._errors, False)
        self._closed = False
        self.wire = Wire(ours, budget)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors,
                start_new_session=True,  # Ctrl-C is ours to handle, and there is no terminal to ask on
                env={**allowed(os.environ, Need.SSH), "LC_ALL": "C"},
            )
        except OSError as error:
            ours.close()
            os.close(self._errors)
            raise UnreachableError(f"found no ssh to run ({error.strerror}), needed OpenSSH: install it") from error
        finally:
            theirs.close()
            os.close(errors)

    def _last_words(self) -> str:
        """Ssh's own, or those of what it ran."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        said = b""
        with contextlib.suppress(BlockingIOError):  # it has not ended, and says nothing more
            while len(said) < MOST_ERRORS and (piece := os.read(self._errors, MOST_ERRORS)):
                said += piece
        return last_lines(said)

    def cut(self) -> None:
        """The stream and its processes end now, from any thread; it stays to be closed by its owner."""
        self.wire.cut()
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """The process and those that it started have ended; closing twice does nothing more."""
        if self._closed:
            return
        self._closed = True
        self.wire.close()
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._signal(signal.SIGKILL)  # a jump host's or proxy's process too, which may outlive ssh
        self._process.wait()
        os.close(self._errors)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of the group have ended
            os.killpg(self._process.pid, number)


class SessionStream(Stream):
    """Over a session that is open already, and stays so."""

    def __init__(
        self, transport: Transport, host: Host, bind: str, port: int, budget: Budget, rights: Rights = LOGIN
    ) -> None:
        """It runs. Raises OSError where the session has ended."""
        import paramiko

        super().__init__(host, bind, port, rights)
        command = relay_command(host, bind, port, self._mark, rights)
        try:
            self._channel = SessionChannel(transport, command, budget.wait(None), together=False)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        self.wire = Wire(cast(socket.socket, self._channel), budget)

    def _last_words(self) -> str:
        return self._channel.last_words(MOST_ERRORS)

    def cut(self) -> None:
        self._channel.close()

    def close(self) -> None:
        self._channel.close()
