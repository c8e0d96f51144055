"""One command on a host as root: what it reads, what comes back, and how sudo is answered on the way."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from phi4_edge.core.inventory import Host
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.wire import Budget

# Ansible's own call of sudo, and the same with a password; never a terminal, never a question to anybody.
SUDO = "sudo -H -S -n -u root"
SUDO_ASKED = "sudo -H -S -p {prompt} -u root"
MOST_ERRORS = 256 * 1024  # of standard error: what a login prints, and a traceback


@dataclass(frozen=True)
class Errand:
    """`line` is run by a POSIX shell and reads `stdin`. It may take `seconds`, and say `most_bytes`.

    `answered` tells from standard output whether it ran as it should.
    """

    line: str
    stdin: bytes = field(repr=False)
    seconds: float
    most_bytes: int
    answered: Callable[[str], bool]


@dataclass(frozen=True)
class Said:
    """What came back, as it came; `status` is None where the connection ended before there was one.

    `entered`: the errand's own line was run, as far as that shows; sudo may be in between.
    """

    status: int | None
    output: str
    errors: str
    entered: bool = True


@dataclass(frozen=True)
class Rights:
    """How root is become: not at all (`sudo` false), with sudo, or with sudo and a password."""

    sudo: bool
    password: str = field(default="", repr=False)


class Channel(Protocol):
    """A command on a host that runs: its streams."""

    def send(self, data: bytes) -> int:
        """It reads all of this: so many bytes. Raises OSError where it reads no more."""

    def end_input(self) -> None:
        """It reads no more."""

    def receive(self, seconds: float) -> tuple[bytes, bytes] | None:
        """What it wrote to standard output and standard error; None behind the end. Raises TimeoutError."""

    def apart(self) -> None:
        """From now on the two streams are told apart."""

    def status(self, seconds: float) -> int | None:
        """Its exit status, None where there is none."""


@dataclass(frozen=True)
class CommandLine:
    """An errand as the login shell of the host gets it. Sudo asks with `mark`, and what it lets in begins with it."""

    command: str
    mark: str = ""

    @classmethod
    def of(cls, errand: Errand, rights: Rights) -> CommandLine:
        """The call with these rights. No secret is in it."""
        if not rights.sudo:
            return cls(f"/bin/sh -c {shlex.quote(errand.line)}")
        mark = secrets.token_hex(8)
        sudo = SUDO_ASKED.format(prompt=shlex.quote(f"{mark}:ASK")) if rights.password else SUDO
        return cls(f"{sudo} /bin/sh -c {shlex.quote(f'echo {mark}:IN; {errand.line}')}", mark)


def converse(channel: Channel, call: CommandLine, errand: Errand, rights: Rights) -> Said:
    """What the errand's command said to its end.

    Raises Refused where sudo wants another password, OverBudget for more than may come, and OSError where the
    connection ends or nothing comes in time.
    """
    budget = Budget(errand.seconds, errand.most_bytes)
    talk = _Talk(channel, budget)
    if not rights.password or not call.mark or talk.let_in(call.mark, rights.password):
        channel.apart()
        channel.send(errand.stdin)
        channel.end_input()
        while talk.listen():
            pass
    status = channel.status(budget.remaining)
    if not call.mark:
        return Said(status, talk.output, talk.errors)
    come, asked = f"{call.mark}:IN\n", f"{call.mark}:ASK"
    before, entered, output = talk.output.partition(come)
    output = (before + output).replace(asked, "")
    return Said(status, output, talk.errors.replace(asked, ""), bool(entered))


class _Talk:
    def __init__(self, channel: Channel, budget: Budget) -> None:
        self._channel, self._budget = channel, budget
        self._output, self._errors = bytearray(), bytearray()

    @property
    def output(self) -> str:
        return self._output.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        return self._errors.decode("utf-8", "replace")

    def listen(self) -> bool:
        """Whether there may be more."""
        found = self._channel.receive(self._budget.wait(None))
        if found is None:
            return False
        output, errors = found
        self._budget.take(len(output))
        self._output += output
        if len(self._errors) + len(errors) > MOST_ERRORS:
            self._budget.exceed(f"more than {MOST_ERRORS} bytes of errors")
        self._errors += errors
        return True

    def let_in(self, mark: str, password: str) -> bool:
        """Whether sudo ran the command; the password is sent once, and only where sudo asks for it."""
        ask, come, answered = f"{mark}:ASK".encode(), f"{mark}:IN".encode(), 0
        while come not in self._output:
            asked = (self._output + self._errors).count(ask)
            if asked > answered == 0:
                self._channel.send(password.encode() + b"\n")
            elif asked > answered == 1:
                self._channel.end_input()  # a second try would count against the user
            answered = min(asked, 2)
            if not self.listen():
                return False
        return True


def no_sudo(user: str, said: str, password: bool) -> Refused:
    """Why `user` does not become root, in the words that sudo said last."""
    last = (said.strip().splitlines() or ["no answer"])[-1][:200]
    with_password = "the given password" if password else "no password"
    return Refused(
        "no_sudo",
        f"found that user {user} cannot use sudo with {with_password} ({last}), needed root rights",
        "install sudo and allow it for this user, or give its password with --ask-become-pass",
    )


def rights_at(host: Host, user: str, wanted: bool, password: str) -> Rights | None:
    """How root is become on a host that `user` has logged in to; None where only Ansible can."""
    if host.only_ansible:
        return None
    if not (wanted if host.become is None else host.become):
        return Rights(sudo=False)
    if user == "root" and host.become_user in ("", "root"):
        return Rights(sudo=False)
    return Rights(True, host.become_password or password) if host.by_sudo else None
