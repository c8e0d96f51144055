"""One run of rollback: look at what each host serves and what it served before, then bring it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from phi4_edge.core.facts.installed import misplaced
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import Receipt, status
from phi4_edge.core.rollout.outcome import COUNTED
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.errors import AGAIN
from phi4_edge.operations import draining
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.operations.rollout import Rolling
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.view.view import View


@dataclass
class GoingBack:
    """`to`: the release that is wanted on all hosts, "" for the one before. `look` first, then `finish`.

    `targets`: the release that each host is to go back to; `settled`: hosts that nothing is done to.
    """

    rolling: Rolling
    to: str = ""
    facts: dict[str, HostFacts] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    settled: dict[str, HostResult] = field(default_factory=dict)

    @classmethod
    def open(cls, inventory: Sequence[str], reach: Reach, waving: Waving, to: str, resume: bool) -> GoingBack:
        """Reads the inventory; contacts no host. Raises InventoryError, and RecordError for nothing to go on with."""
        return cls(Rolling.open(inventory, reach, waving, "rollback", resume=resume), to)

    def look(self, view: View) -> None:
        """Every host has a target or is settled afterwards."""
        self.rolling.connect(view)
        fleet = self.rolling.left
        seen = self.rolling.look(fleet, view)
        self.settled = {result.host: result for result in seen.problems}
        for host, facts in fleet.facts(seen):
            if isinstance(facts, HostResult):
                self.settled[host.name] = facts
            else:
                self._decide(host.name, facts)

    def _decide(self, host: str, facts: HostFacts) -> None:
        receipt = facts.receipt
        meant = self.rolling.resumed.options.get("to", {}) if self.rolling.resumed else {}
        target = str(meant.get(host) or self.to or receipt.previous_release)
        wrong, step = misplaced(facts)
        lacking = wrong or _lacking(receipt, target)
        if lacking:
            self.settled[host] = HostResult(host, Outcome.PREFLIGHT, lacking, step or "leave it out with --limit")
        elif target == receipt.release and status(receipt, facts.service) == "serving" and not facts.journal.open:
            self.settled[host] = HostResult(host, Outcome.UNCHANGED, release=target)
        elif held := self.rolling.held({host: facts}):
            self.settled |= held
        else:
            self.facts[host], self.targets[host] = facts, target

    def waves(self) -> tuple[Wave, ...]:
        """Who has its turn when; hosts that go from one engine's release to the same one are alike."""
        return self.rolling.waves({host: (self.facts[host].receipt.engine, to) for host, to in self.targets.items()})

    def _bad(self) -> dict[str, Outcome]:
        return {host: result.outcome for host, result in self.settled.items() if result.outcome in COUNTED}

    def hindrance(self) -> dict[str, HostResult]:
        """What is said of the hosts that were to go back, where none may be touched at all; else {}."""
        return self.rolling.hindrance(self.waves(), self._bad())

    def all(self, results: Mapping[str, HostResult]) -> list[HostResult]:
        """These results and those of all other hosts, in inventory order."""
        found = self.rolling.all({**self.settled, **results})
        return [_with_resume(result) for result in found] if self.rolling.journal else found

    def finish(self, view: View) -> list[HostResult]:
        """Every host's result, in inventory order."""
        if not self.targets:
            if self.rolling.resumed:
                self.rolling.begin(())
            return self.all({})
        self.rolling.options["to"] = dict(self.targets)
        self.rolling.begin(())
        view.phase(f"Rolling back {count(len(self.targets), 'host')}")
        play = Play("rollback", {"service_rollback_to": dict(self.targets)}, releases=self.targets)
        serves = {host: facts.receipt.release for host, facts in self.facts.items()}
        ansible = self.rolling.ansible
        self.rolling.around = draining.around(self.rolling.fleet, ansible, "rollback", self.targets, view.note)
        self.rolling.ready = {host: one for host, one in self.settled.items() if one.outcome is Outcome.UNCHANGED}
        return self.all(self.rolling.drive(self.waves(), self._bad(), play, serves, view))


def _lacking(receipt: Receipt, target: str) -> str:
    """What a host has not that shall go back to `target`, "" where it has all."""
    if not receipt.present:
        return "found no release on this host, needed one to go back from: nothing was provisioned here"
    if receipt.error and not target:
        return f"found a receipt that cannot be read ({receipt.error}), needed it to know the previous release"
    if not target:
        return "found no previous release, needed one to go back to: this host was provisioned only once"
    return ""


def _with_resume(result: HostResult) -> HostResult:
    """Run again without --resume would take hosts that are back forth again: what it says to do next must not."""
    step = result.next_step
    for words in (AGAIN, "run again"):
        step = step.replace(words, f"{words} with --resume")
    return replace(result, next_step=step)
