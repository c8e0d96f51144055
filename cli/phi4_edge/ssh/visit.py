"""Visits hosts side by side: connect, verify the host's key, log in, do what is to be done, tell what is wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from phi4_edge.core.inventory import Host
from phi4_edge.ssh import abreast, busy, diagnosis, library, session
from phi4_edge.ssh.channel import ProcessChannel
from phi4_edge.ssh.errand import Rights, rights_at
from phi4_edge.ssh.finding import Refusal, Refused
from phi4_edge.ssh.guest import Guest, ProcessGuest, SessionGuest, Unanswered
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.keys import has_ticket
from phi4_edge.ssh.target import CONNECT_SECONDS, GSSAPI, MOST_CONNECT_SECONDS, Target, resolve
from phi4_edge.ssh.wire import Budget, Open, Wire

if TYPE_CHECKING:
    from paramiko import Transport

Result = TypeVar("Result")

MAX_THREADS = 32
# Hosts that are dead or slow keep no other waiting: so many may be waited for at a time.
MOST_THREADS = 160
PATIENCE_SECONDS = 5.0
GRACE_SECONDS = 2.0  # behind the end of a host's budget: then its thread is left alone
RETRY_SECONDS = 1.0
# Connection plugins that ask on a terminal about a host's key or for a password: a run has one, and nobody reads there.
_ASKING = frozenset({"paramiko", "paramiko_ssh", "libssh", "network_cli", "netconf", "httpapi", "winrm", "psrp"})


@dataclass(frozen=True)
class Purpose(Generic[Result]):
    """`work` is done at every host that lets us in, over its own session; `seconds` of it go over a host's budget.

    `become`: root rights will be wanted on hosts that do not say otherwise. The passwords are the operator's, for hosts
    whose inventory names none. `through`: OpenSSH itself is taken where only it gets in; `keep` holds sessions open.
    """

    work: Callable[[Guest], Result] | None = None
    seconds: Callable[[Host], float] = lambda _: 0.0
    become: bool = True
    become_password: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    through: bool = True
    keep: Sessions | None = None


@dataclass(frozen=True)
class Visit(Generic[Result]):
    """What became of one host: a refusal, which is ok where it is left to Ansible, or else the result of the work."""

    refusal: Refusal
    result: Result | None = None


def visit(
    hosts: Sequence[Host],
    purpose: Purpose[Result],
    stopping: Callable[[], bool] = lambda: False,
    begin: Callable[[Host], None] = lambda _: None,
    tell: Callable[[Visit[Result]], None] = lambda _: None,
) -> list[Visit[Result]]:
    """What became of each host, in their order; nothing of a host is trusted.

    A host gets HOST_SECONDS and HOST_BYTES in all until it has let us in, and its work's bounds after that. `begin` and
    `tell` are called in this thread. Raises InterruptedRunError soon after `stopping()` turned true.
    """
    if any(host.over_ssh for host in hosts):
        library.load()
    party = _Party(purpose)
    longest = max((seconds_for(host) for host in hosts), default=0.0)
    limits: abreast.Limits[Host, Visit[Result]] = abreast.Limits(
        longest + GRACE_SECONDS, _late, lambda host: party.more.get(host.name, 0.0), PATIENCE_SECONDS, MOST_THREADS
    )
    return abreast.each(
        party.at, hosts, MAX_THREADS, cut=party.open.cut, stopping=stopping, limits=limits, tell=tell, begin=begin
    )


def seconds_for(host: Host) -> float:
    """What a host may take until it has let us in: more where the operator has more patience than Ansible by itself."""
    patience = min(float(host.ssh.timeout), MOST_CONNECT_SECONDS) - CONNECT_SECONDS
    return session.HOST_SECONDS + max(0.0, patience)


def _late(host: Host) -> Visit[Result]:
    """What is said of a host that hangs where no budget reaches: a name server, or an agent of ours."""
    return Visit(
        Refusal(
            host.name,
            "unreachable",
            f"found no end of the preflight check within {seconds_for(host):g} s, needed one",
            "see that its name resolves, and that the ssh agent answers (ssh-add -l)",
        )
    )


class _Party(Generic[Result]):
    """Who goes to all hosts. `more`: seconds that hosts have which let us in."""

    def __init__(self, purpose: Purpose[Result]) -> None:
        self._purpose, self.open = purpose, Open()
        self.more: dict[str, float] = {}

    def at(self, host: Host) -> Visit[Result]:
        """What becomes of one host."""
        if host.connection.rpartition(".")[2] in _ASKING:
            return Visit(
                Refusal(
                    host.name,
                    "asks",
                    f"found ansible_connection={host.connection}, which may ask what nobody answers, needed ssh "
                    "(or local)",
                    "remove ansible_connection there, and in ansible.cfg and the environment what sets it",
                )
            )
        if not host.over_ssh:
            return _left(host, f"connection {host.connection} is left to Ansible")
        try:
            target = resolve(host)
        except ValueError as error:
            return _left(host, f"ssh settings that cannot be read beforehand ({error})", "left to Ansible")
        if target.indirect:
            left: Visit[Result] = _left(host, f"reached through {target.indirect[:100]}, which is left to Ansible")
            return self._through(host, target, left)
        found = self._direct(host, target)
        return self._through(host, target, found) if found.refusal.kind == "skipped" else found

    def _direct(self, host: Host, target: Target) -> Visit[Result]:
        """Over a connection of ours; a server that is busy with other logins is asked again."""
        budget = Budget(seconds_for(host), session.HOST_BYTES)
        found = self._once(host, target, budget)
        for pause in busy.pauses():
            if self.open.stopped or not busy.passing(found.refusal) or budget.remaining <= pause:
                break
            time.sleep(pause)
            found = self._once(host, target, budget)
        return found

    def _once(self, host: Host, target: Target, budget: Budget) -> Visit[Result]:
        try:
            wire = _dialled(host, target, budget)
        except Refused as refused:
            return Visit(_left_to_ssh(refused.finding(host.name), target))
        try:
            with self.open.using(wire):
                found = self._visit(host, target, wire)
            return replace(found, refusal=_left_to_ssh(found.refusal, target))
        finally:
            if self._purpose.keep is None or not self._purpose.keep.has(wire):
                wire.close()

    def _visit(self, host: Host, target: Target, wire: Wire) -> Visit[Result]:
        transport, purpose = None, self._purpose
        rights = rights_at(host, target.user, purpose.become, purpose.become_password)
        try:
            transport = session.connect(target, wire)
            session.authenticate(transport, target, host.ssh.password or purpose.password)
            if purpose.work is None or rights is None:
                diagnosis.check(transport, host, target, purpose.become, purpose.become_password)
                return Visit(Refusal(host.name, "ok"))
            return self._work(host, target, transport, wire, rights)
        except Refused as refused:
            finding = refused.finding(host.name)
            if transport is not None and refused.kind in ("no_python", "no_sudo"):
                return Visit(replace(finding, user=target.user, system=diagnosis.system(transport)))
            return Visit(_used_up(finding, wire.budget.over) if wire.budget.over else finding)
        finally:
            if transport is not None and (purpose.keep is None or not purpose.keep.has(wire)):
                transport.close()

    def _work(self, host: Host, target: Target, transport: Transport, wire: Wire, rights: Rights) -> Visit[Result]:
        """The work at a host that let us in; where it gives no answer, what is wrong there."""
        purpose = self._purpose
        assert purpose.work is not None  # noqa: S101
        before, seconds = wire.budget, purpose.seconds(host)
        self.more[host.name] = seconds
        try:
            wire.budget = Budget.free()  # each command has its own
            result = purpose.work(SessionGuest(host, transport, rights))
        except Unanswered as unanswered:
            wire.budget = Budget(session.HOST_SECONDS, session.HOST_BYTES)
            self.more[host.name] = seconds + session.HOST_SECONDS
            diagnosis.explain(transport, host, target, rights, unanswered.said)
            raise unanswered.refused from None
        except Refused:
            wire.budget = before
            raise
        if purpose.keep is not None:
            purpose.keep.add(host.name, transport, wire)
        return Visit(Refusal(host.name, "ok"), result)

    def _through(self, host: Host, target: Target, left: Visit[Result]) -> Visit[Result]:
        """Through OpenSSH, where that may be and the work is one that it can do; else it is `left` to Ansible."""
        purpose = self._purpose
        rights = rights_at(host, target.user, purpose.become, purpose.become_password)
        settled = host.ssh.password or purpose.password or host.ssh.private_key or host.ssh.pkcs11_provider
        if purpose.work is None or rights is None or not purpose.through or settled:
            return left
        self.more[host.name] = purpose.seconds(host)
        try:
            return Visit(Refusal(host.name, "ok"), purpose.work(ProcessGuest(host, rights, self._process)))
        except Unanswered:
            return left  # Ansible says why
        except Refused as refused:
            return Visit(refused.finding(host.name))

    @contextlib.contextmanager
    def _process(self, host: Host, command: str) -> Iterator[ProcessChannel]:
        """A process of ssh that ends with the block, or with all others."""
        channel = ProcessChannel(host, command)
        try:
            with self.open.using(channel):
                yield channel
        finally:
            channel.close()


def _left(host: Host, reason: str, step: str = "") -> Visit[Result]:
    return Visit(Refusal(host.name, "skipped", reason, step))


def _dialled(host: Host, target: Target, budget: Budget) -> Wire:
    """A connection, at the first of as many attempts as Ansible would make. Raises Refused."""
    for _ in range(host.ssh.retries):
        try:
            return session.dial(target, budget)
        except Refused:
            if budget.remaining <= RETRY_SECONDS:
                raise
            time.sleep(RETRY_SECONDS)
    return session.dial(target, budget)


def _left_to_ssh(finding: Refusal, target: Target) -> Refusal:
    """The finding, unless settings of this host give ssh itself another way than we have."""
    setting = target.only_ssh.get(finding.kind, "")
    if setting and (not setting.startswith(GSSAPI) or has_ticket()):
        return Refusal(finding.host, "skipped", f"{finding.reason}; left to Ansible, as ssh has {setting[:100]}")
    return finding


def _used_up(finding: Refusal, over: str) -> Refusal:
    """The host did not come to the end of all that was asked of it within its budget."""
    return replace(
        finding,
        kind="unreachable",
        reason=f"found {over} during the preflight check, needed short answers",
        next_step="see what the host is busy with, or leave it out with --limit",
    )
