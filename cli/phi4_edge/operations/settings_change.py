"""A change of settings on one host, over its open session: what the play of provision does there, by the same scripts.

Lock, look, decide, present, stage, rehearse, switch, prove, commit, release; and the way back where one fails. Whatever
is not as it was when the plan was made changes nothing here and is left to Ansible, which has an answer to all of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.facts import lock
from phi4_edge.core.layout import Layout
from phi4_edge.core.plan.changes import settings_alone
from phi4_edge.core.plan.decide import Plan
from phi4_edge.errors import FactsError, HostFailedError, UnreachableError
from phi4_edge.operations.look import exchanged
from phi4_edge.remote import action, change, gate, holder, planning, probe, release, series, trust
from phi4_edge.remote.answers import Key
from phi4_edge.remote.inquiry import Inquiry
from phi4_edge.remote.inquiry import held as held_to_schema
from phi4_edge.remote.scripts import composed_series
from phi4_edge.remote.series import Step
from phi4_edge.rollout.interpret import THROUGH
from phi4_edge.runner.events import HostEvent, HostOutcome, Kind
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.guest import Guest, Unanswered

TAKE, RELEASE = ("lock", "lock", "take"), ("lock", "lock", "release")
PRESENT, SWEEP = ("trust", "trust", "present"), ("receipt", "receipt", "sweep")
ROLLBACK = ("service", "release", "rollback")
# Beside the time until the lock of a run that died is stale.
SPARE_SECONDS = 120.0
RELEASE_SECONDS = 30.0
LOCK_SAYS = ("id", "operation", "holder", "stale_seconds", "heartbeat_seconds")
# What the tasks of the play are called, by the role that they are of.
LOCK, CHANGE, BACK, FAIL = (
    ("lock", "Take the lock of the host"),
    ("service", "Stage, switch, prove and commit"),
    ("service", "Bring back the committed release"),
    ("service", "Fail with the first reason"),
)
UNLOCK = ("lock", "Release the lock")

Tell = Callable[[HostEvent], None]


class LeftError(Exception):
    """Nothing of this run is half done on the host that Ansible could not finish or undo: it is left to it."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a host: the `plan` that was agreed to.

    `decide`: the plan for a facts document. `holder`: variables of role lock. `presented`: what was signed for sites.
    `timeout`: seconds that a step may take, 0 for its own limit.
    """

    plan: Plan
    decide: Callable[[Mapping[str, Any]], Plan]
    holder: Mapping[str, Any]
    presented: Sequence[Mapping[str, str]]
    timeout: float = 0.0
    diff: bool = False


@dataclass
class SettingsChange:
    """One host's change. `tell` hears what a task of the play would tell; `one` is held while an answer is read."""

    guest: Guest
    wanted: Wanted
    tell: Tell
    one: threading.Lock
    _lock: dict[str, Any] = field(default_factory=dict)
    _changed: int = 0
    _began: float = 0.0
    _late: bool = False

    def taken(self) -> Mapping[str, Any]:
        """The host is this run's: its facts document, as it is now. Raises LeftError where another run has it."""
        own, there = holder.controller(os.getpid()), self._there
        said = {**self.guest.host.for_roles, **self.wanted.holder, "lock_operation": "provision"}
        asked = {name: said.get(f"lock_{name}") for name in LOCK_SAYS}
        # The session lives as long as the change, so its end is that of the run.
        wish = {**lock.wanted(asked, own, holder.here(), time.time()), "persist": lock.MOST_SECONDS}
        args = {"wish": wish, "root": there.root, "folder": there.state, "controller": own, "wait": 0.0}
        steps = [
            Step(TAKE, args, needs={"state": "taken"}, seconds=wish["stale_seconds"] + SPARE_SECONDS),
            Step(probe.OPERATION, probe.arguments(there), seconds=probe.VERIFY_SECONDS + probe.SPARE_SECONDS),
        ]
        self._say("start", LOCK)
        # From now on it may be ours, whatever comes back.
        self._lock = {name: wish[name] for name in ("id", "operation")} | {"folder": there.state, "controller": own}
        found = self._series(steps)
        fact = lock.told(found[0], {**wish, "folder": there.state}, own) if "error" not in found[0] else {}
        if fact.get("state") != "taken":
            self._lock = {}
        if len(found) < len(steps) or "error" in found[-1]:
            raise LeftError
        self._say("ok", LOCK, result={"ansible_facts": {"phi4_lock": fact}})
        return probe.document(found[1], self.guest.host.name, there)

    def changed(self, document: Mapping[str, Any]) -> HostOutcome:
        """What became of the host, whose lock is given back. Raises LeftError where it is left to Ansible."""
        plan, name = self.wanted.decide(document), self.guest.host.name
        if planning.refusal(plan, str(self.wanted.plan.fingerprint)) or not settings_alone(plan.to_dict()):
            raise LeftError
        self._say("start", CHANGE)
        try:
            return self._made(plan.to_dict())
        except UnreachableError as gone:  # it counts: what was begun may be why it went
            self._lock = {}
            self._say("unreachable", CHANGE, str(gone), {THROUGH: True})
            return HostOutcome(name, "unreachable", str(gone), changed=self._changed)

    def _made(self, plan: Mapping[str, Any]) -> HostOutcome:
        """As `changed`. Raises UnreachableError where the host is lost on the way."""
        name, steps, answers = self.guest.host.name, list[Step](), list[dict[str, Any]]()
        wanted = change.Change(plan, self._there, name, self._times(plan), restart=False, forget=False)
        try:
            before, images = self._begun(wanted)
            steps = wanted.steps(images, before)
            found = self._series([*steps, self._release], held=True)
            answers = found[: len(steps)]
            if before and "error" in answers[0]:  # what was signed lets nothing of it in: nothing was changed
                raise LeftError
            action.accepted(dict(answers[-1]))
            result = change.result(steps, answers)
        except (HostFailedError, FactsError) as error:
            rehearsing = bool(answers) and change.rehearsing(steps, answers)
            why = change.unrehearsed(str(plan["release"]), error) if rehearsing else str(error)
            return self._failed(plan, why, isinstance(error, action.HostRefusedError) and bool(error.late()))
        if not result["done"]:
            raise LeftError
        self._changed += int(bool(result["changed"]))
        if len(found) > len(steps) and "error" not in found[-1]:
            self._lock = {}
        self._say("changed" if result["changed"] else "ok", CHANGE, result={**result, THROUGH: True})
        return HostOutcome(name, "ok", changed=self._changed)

    def leave(self) -> None:
        """The host is nobody's. Raises Phi4EdgeError where it does not answer: then its lock ends with the session."""
        if self._lock:
            self._say("start", UNLOCK)
            self._ask(RELEASE, self._release.args, RELEASE_SECONDS)
            self._lock = {}
            self._say("ok", UNLOCK, result={THROUGH: True})

    @property
    def _there(self) -> Layout:
        return layout.of(self.wanted.plan.to_dict())

    @property
    def _shared(self) -> dict[str, Any]:
        """What every step of a change is told."""
        there = self._there
        return {
            **there.to_dict(), "receipt": f"{there.state}/receipt.json", "check": False, "diff": self.wanted.diff,
        }  # fmt: skip

    @property
    def _release(self) -> Step:
        there = self._there
        wish = {"wish": {"id": self._lock["id"]}, "root": there.root, "folder": there.state, "force": False}
        return Step(RELEASE, wish, seconds=RELEASE_SECONDS)

    def _begun(self, wanted: change.Change) -> tuple[list[Step], Mapping[str, str]]:
        """The first steps of the series, and ids of the images that its files name.

        The files of containers name images as the host knows them: there the first steps are an exchange of their own.
        """
        signed = {"wanted": trust.wanted(wanted.plan), "presented": self.wanted.presented, "keys": {}, "rotations": ""}
        first = [Step(PRESENT, signed), wanted.inherits]
        if wanted.plan["service_manager"] != "compose":
            return first, {}
        found = self._series(first, held=True)
        if len(found) < len(first) or found[-1].get("complete") is not True:
            raise LeftError
        return [], found[-1]["images"]

    def _failed(self, plan: Mapping[str, Any], why: str, late: bool) -> HostOutcome:
        """The host is back on the release that is committed, and serves it; what was rehearsed is over."""
        self._say("failed", CHANGE, why)
        self._say("start", BACK)
        facts: dict[str, Any] = {}
        try:
            done = self._ask(ROLLBACK, {"failed": plan["release"], "links": {}, "files": {}, "restart": False})
            if not done["to"] and not done["kept"]:  # it lost its receipt meanwhile
                raise LeftError
            facts = {"phi4_rollback": release.rolled_back(done)}
            self._changed += int(done["changed"])
            self._say("ok", BACK, result={"ansible_facts": facts})
            if done["restarted"] and done.get("plan"):
                asked, seconds = gate.question(done["plan"], self._there, False, self._times(done["plan"]))
                self._ask(change.GATE, asked, seconds)
            self._changed += int(self._ask(SWEEP, {})["changed"])
            message = f"{why} ({release.back_on(done)})"
        except (HostFailedError, FactsError) as second:
            self._say("failed", BACK, str(second))
            message = f"{why} (and going back failed: {second})"
        self._say("failed", FAIL, message, {THROUGH: True})
        return HostOutcome(self.guest.host.name, "failed", message, facts, self._changed, late or self._late)

    def _ask(self, operation: Key, args: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """The answer of one operation. Raises HostRefusedError where the host says why not."""
        host, limit = self.guest.host, self._limit(Step(operation, {}, seconds=seconds).limit)
        given = {**self._shared, **args, "lock": self._lock, "seconds_left": limit}
        document = self._exchanged(Inquiry.of(operation, host.ssh.python, given), limit)
        return action.accepted(held_to_schema(operation, host.name, document))

    def _series(self, steps: Sequence[Step], held: bool = False) -> list[dict[str, Any]]:
        """The answers of several, see `series.read`. `held`: they are those of a change, under the lock."""
        host = self.guest.host
        if held:
            steps = [replace(step, args={**self._shared, **step.args}) for step in steps]
        limit = self._limit(series.seconds(steps))
        args = {"series": [step.to_dict() for step in steps], "seconds_left": limit}
        args |= {"lock": self._lock} if held else {}
        text = composed_series(tuple(dict.fromkeys(step.script for step in steps)))
        inquiry = Inquiry.sent(text, host.ssh.python, args, series.size(steps))
        return series.read(steps, host.name, self._exchanged(inquiry, limit))

    def _exchanged(self, inquiry: Inquiry, limit: float) -> dict[str, Any]:
        """The host's document. Raises UnreachableError where it is lost, and FactsError for no answer of ours."""
        began = time.monotonic()
        try:
            return exchanged(self.guest, self.one, inquiry, limit)
        except Refused as refused:
            self._late = bool(self.wanted.timeout) and time.monotonic() - began >= limit
            finding = refused.finding(self.guest.host.name)
            raise (UnreachableError if finding.kind == "unreachable" else FactsError)(finding.reason) from None
        except Unanswered as unanswered:
            if self.guest.get(self.guest.host.name) is None:
                raise UnreachableError("found that the connection ended, needed an answer") from None
            said = unanswered.said
            return inquiry.document(said.status, said.output, said.errors)  # that is none, and says why

    def _times(self, plan: Mapping[str, Any]) -> dict[str, float]:
        """Those of the gate, where the inventory has none of its own."""
        theirs = self.guest.host.for_roles
        return {name: float(theirs.get(f"health_{name}", seconds)) for name, seconds in gate.times(plan).items()}

    def _limit(self, seconds: float) -> float:
        return min(seconds, self.wanted.timeout or seconds)

    def _say(
        self, kind: Kind, task: tuple[str, str], message: str = "", result: Mapping[str, Any] | None = None
    ) -> None:
        if kind == "start":
            self._began = time.monotonic()
        seconds = time.monotonic() - self._began
        self.tell(HostEvent(self.guest.host.name, kind, *task, message, seconds, result or {}))
