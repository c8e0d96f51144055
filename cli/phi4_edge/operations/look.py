"""The one look at hosts: one command over ssh for each, and Ansible for those that are reached in other ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import FactsError, UnreachableError
from phi4_edge.operations.detect import DEEP, SAMPLE, Survey, survey, unanswered
from phi4_edge.remote import probe
from phi4_edge.remote.answers import Key
from phi4_edge.remote.inquiry import Inquiry, held
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.access import Access
from phi4_edge.runner.events import HostEvent
from phi4_edge.ssh.errand import Errand
from phi4_edge.ssh.finding import Refusal
from phi4_edge.ssh.guest import Guest
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.visit import Purpose, Visit, visit

SECONDS = probe.VERIFY_SECONDS + probe.SPARE_SECONDS
DEEP_SECONDS = probe.DEEP_SECONDS + probe.SPARE_SECONDS
ROLE, TASK = "probe", "Read what the host says about itself"

OnEvent = Callable[[HostEvent], None]
Document = Mapping[str, Any]
Then = Callable[[Guest, Document], None]


@dataclass
class Look:
    """Looks at hosts; changes nothing on them. `keep`: their sessions stay open there.

    `then` is called for each document while its host's session is open; it may take `then_seconds`. `deep`: every
    managed file is hashed, whatever its stamp says. `sample`: hosts without a release are asked how fast their memory
    is, which a plan's forecast is made of.
    """

    access: Access
    interrupts: Interrupts
    on_event: OnEvent
    keep: Sessions | None = None
    then: Then | None = None
    then_seconds: float = 0.0
    deep: bool = False
    sample: bool = False
    _one: threading.Lock = field(default_factory=threading.Lock)

    def at(self, hosts: Sequence[Host]) -> Survey:
        """Every host is in exactly one part of the survey.

        Raises InterruptedRunError after Ctrl-C (nothing was changed), and RunnerError when Ansible itself cannot run.
        """
        purpose: Purpose[Document | str] = Purpose(
            work=self._ask,
            seconds=lambda _: self._seconds + self.then_seconds,
            become_password=self.access.become_password or "",
            password=self.access.connection_password or "",
            keep=self.keep,
        )
        with narrowed(Need.SSH):  # `Match exec` of an ssh configuration runs programs
            visits = visit(hosts, purpose, lambda: self.interrupts.stopping, self._begin, self._tell)
        settled: dict[str, Document | HostResult] = {}
        for host, found in zip(hosts, visits, strict=True):
            if isinstance(found.result, str):
                settled[host.name] = unanswered(host.name, found.result)
            elif found.result is not None:
                settled[host.name] = found.result
            elif not found.refusal.ok:
                settled[host.name] = refused(found.refusal)
        wanted = {name: True for name, asked in ((DEEP, self.deep), (SAMPLE, self.sample)) if asked}
        return survey(self.access, [host.name for host in hosts], settled, self.interrupts, self.on_event, wanted)

    @property
    def _seconds(self) -> float:
        return (DEEP_SECONDS if self.deep else SECONDS) + (probe.SAMPLE_SECONDS if self.sample else 0.0)

    def _ask(self, guest: Guest) -> Document | str:
        """The host's document, or why what it sent is none."""
        there = Overrides.from_vars(guest.host.name, guest.host.vars).layout
        try:
            verify = probe.DEEP_SECONDS if self.deep else probe.VERIFY_SECONDS
            args = probe.arguments(there, verify, self.deep)
            answer = ask(guest, self._one, probe.OPERATION, args, self._seconds)
            document = probe.document(answer, guest.host.name, there)
            if self.sample:
                document = probe.sampled(document, lambda operation: self._further(guest, operation))
        except FactsError as error:
            return str(error)
        if self.then is not None:
            self.then(guest, document)
        return document

    def _further(self, guest: Guest, operation: Key) -> dict[str, Any]:
        """The answer of one more operation. Raises FactsError where there is none, with the host's own words."""
        answer = ask(guest, self._one, operation, {}, probe.SAMPLE_SECONDS)
        if "error" in answer:
            raise FactsError(answer["error"])
        return answer

    def _begin(self, host: Host) -> None:
        self.on_event(HostEvent(host.name, "start", ROLE, TASK))

    def _tell(self, found: Visit[Document | str]) -> None:
        """What a task of Ansible's would tell; of a host that is left to Ansible it will."""
        host, refusal = found.refusal.host, found.refusal
        if isinstance(found.result, str):
            self.on_event(HostEvent(host, "failed", ROLE, TASK, found.result))
        elif found.result is not None:
            self.on_event(HostEvent(host, "ok", ROLE, TASK))
        elif not refusal.ok:
            gone = refusal.exit_code == UnreachableError.exit_code
            self.on_event(HostEvent(host, "unreachable" if gone else "failed", ROLE, TASK, refusal.reason))


def ask(
    guest: Guest, one: threading.Lock, operation: Key, args: Mapping[str, Any], seconds: float, sudo: bool = True
) -> dict[str, Any]:
    """The answer of an operation, asked over the session of a guest.

    What came is taken apart under the lock `one`: many hostile hosts then need no more memory than one. Raises
    FactsError for what is no answer of ours, and what Guest.do raises.
    """
    inquiry = Inquiry.of(operation, guest.host.ssh.python, args)
    return held(operation, guest.host.name, exchanged(guest, one, inquiry, seconds, sudo))


def exchanged(guest: Guest, one: threading.Lock, inquiry: Inquiry, seconds: float, sudo: bool = True) -> dict[str, Any]:
    """What the host answered, held to no schema yet; see `ask`."""
    said = guest.do(Errand(inquiry.line, inquiry.stdin, seconds, inquiry.most_bytes, inquiry.answered), sudo)
    with one:
        return inquiry.document(said.status, said.output, said.errors)


def refused(finding: Refusal) -> HostResult:
    """The result of a host that does not let us in, or not do what is needed there."""
    unreachable = finding.exit_code == UnreachableError.exit_code
    outcome = Outcome.UNREACHABLE if unreachable else Outcome.PREFLIGHT
    return HostResult(finding.host, outcome, finding.reason, finding.next_step)
