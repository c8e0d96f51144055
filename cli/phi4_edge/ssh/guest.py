"""At a host that let us in: commands as root, one after the other, each with its own bounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from phi4_edge.core import remedies
from phi4_edge.core.inventory import Host
from phi4_edge.core.text import printable
from phi4_edge.ssh import busy
from phi4_edge.ssh.channel import ProcessChannel, SessionChannel
from phi4_edge.ssh.errand import CommandLine, Errand, Rights, Said, converse
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.wire import OverBudget

if TYPE_CHECKING:
    from paramiko import Transport

OPEN_SECONDS = 15.0
SSH_FAILED = 255  # ssh's own exit status for a connection that did not come about
_MOST_WORDS = 2000
_BUSY = "see what the host is busy with, or leave it out with --limit"


class Unanswered(Exception):  # noqa: N818  (an answer, not an error)
    """The command ran to its end without an answer. `refused`: what is said of it where nobody finds out why."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.output[-200:])
        self.said = said
        self.refused = Refused("no_answer", "found no answer from the host, needed one", _BUSY)


class Guest(Protocol):
    """Who has been let in to `host` and does errands there."""

    @property
    def host(self) -> Host:
        """The host."""

    @property
    def becomes(self) -> bool:
        """Whether root is become there with sudo."""

    def get(self, host: str) -> Transport | None:
        """The session of this host, where there is one of ours, for as long as the visit lasts."""

    def do(self, errand: Errand, sudo: bool = True) -> Said:
        """What came of it; as the user that logs in where not `sudo`.

        Raises Unanswered, and Refused where the connection ends, or more comes than may, or nothing in time.
        """


class _LetIn:
    """What every guest knows of itself."""

    def __init__(self, host: Host, rights: Rights) -> None:
        self._host, self._rights = host, rights

    @property
    def host(self) -> Host:
        return self._host

    @property
    def becomes(self) -> bool:
        return self._rights.sudo


class SessionGuest(_LetIn):
    """Does errands over a connection of ours."""

    def __init__(self, host: Host, transport: Transport, rights: Rights) -> None:
        super().__init__(host, rights)
        self._transport = transport

    def get(self, host: str) -> Transport | None:
        return self._transport if host == self._host.name and self._transport.is_active() else None

    def do(self, errand: Errand, sudo: bool = True) -> Said:
        """As of Guest."""
        import paramiko

        rights = self._rights if sudo else Rights(sudo=False)
        call, channel = CommandLine.of(errand, rights), None
        began = time.monotonic()
        try:
            channel = SessionChannel(
                self._transport, call.command, OPEN_SECONDS, together=bool(rights.sudo and rights.password)
            )
            said = converse(channel, call, errand, rights)
        except paramiko.ChannelException as error:
            raise Unanswered(Said(None, "", _words(error))) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _broken(error, errand, time.monotonic() - began, self._transport.is_active()) from error
        finally:
            if channel is not None:
                channel.close()
        return _answered(said, errand)


class ProcessGuest(_LetIn):
    """Does errands through OpenSSH: each is a connection, or a share of one that is open."""

    def __init__(
        self,
        host: Host,
        rights: Rights,
        opened: Callable[[Host, str], contextlib.AbstractContextManager[ProcessChannel]],
    ) -> None:
        super().__init__(host, rights)
        self._opened = opened

    def get(self, host: str) -> Transport | None:
        return None

    def do(self, errand: Errand, sudo: bool = True) -> Said:
        """As of Guest; Refused also in ssh's own words where it did not get there."""
        rights = self._rights if sudo else Rights(sudo=False)
        said = self._once(errand, rights)
        for pause in busy.pauses():
            if not (_failed(said, errand) and busy.dropped(said.errors)):
                break
            time.sleep(pause)
            said = self._once(errand, rights)
        if _failed(said, errand):
            raise _no_connection(self._host, said.errors)
        return _answered(said, errand)

    def _once(self, errand: Errand, rights: Rights) -> Said:
        call = CommandLine.of(errand, rights)
        began = time.monotonic()
        try:
            with self._opened(self._host, call.command) as channel:
                return converse(channel, call, errand, rights)
        except (OSError, ValueError) as error:
            raise _broken(error, errand, time.monotonic() - began, well=True) from error


def _failed(said: Said, errand: Errand) -> bool:
    """Whether ssh did not get there."""
    return said.status == SSH_FAILED and not errand.answered(said.output)


def _answered(said: Said, errand: Errand) -> Said:
    if said.status is None or not errand.answered(said.output):
        raise Unanswered(said)
    return said


def _broken(error: BaseException, errand: Errand, seconds: float, well: bool) -> Refused:
    """Why an errand was not done to its end. A host that answers and says too much, or nothing, is no dead one."""
    if isinstance(error, OverBudget):
        return Refused("no_answer", f"found {error} from the host, needed a short answer", _BUSY)
    if isinstance(error, TimeoutError) and well:
        why = f"found no answer from the host within {errand.seconds:g} s, needed one"
        return Refused("no_answer", why, _BUSY)
    why = f"found that the connection ended after {seconds:.0f} s ({_words(error)}), needed an answer"
    return Refused("unreachable", why, "see that the host stays up, and run again")


def _no_connection(host: Host, errors: str) -> Refused:
    """ssh got nowhere: its own last words, and what helps."""
    lines = [line for line in printable(errors[-_MOST_WORDS:]).splitlines() if line.strip()]
    words = "; ".join(lines[-3:]) or "it says nothing"
    step = remedies.remedy(words) or f"try it: ansible -i INVENTORY {host.name} -m raw -a true"
    return Refused("unreachable", f"Failed to connect to the host via ssh: {words}", step)


def _words(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200, lines=False)
