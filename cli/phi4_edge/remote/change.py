"""A change of settings alone, from the release that is committed to the one that is: one exchange with the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.layout import Layout
from phi4_edge.errors import HostFailedError
from phi4_edge.remote import gate, release
from phi4_edge.remote.series import Step

INHERIT, STAGE, VERIFY, REHEARSE, REST, SWITCH = (
    ("service", "release", do) for do in ("inherit", "stage", "verify", "rehearse", "rest", "switch")
)
GATE, COMMIT = ("health", "gate", "gate"), ("receipt", "receipt", "commit")
# What decides where the links of a release lead, by the keys that lead to it in its plan.
MADE_OF = ("engine", "service_manager", "model.digest", "runtime.id", "image.key", "image.digest", "knobs.store")

# Why it is left to the roles.
OTHERWISE = "the release is not made of what the committed one is made of"


@dataclass(frozen=True, slots=True)
class Change:
    """What is wanted of the host `host`, by its plan.

    `times`: see `gate.question`. `restart`: also where the process need not read anything again. `forget`: the release
    that was committed is not kept.
    """

    plan: Mapping[str, Any]
    there: Layout
    host: str
    times: Mapping[str, float]
    restart: bool
    forget: bool

    @property
    def inherits(self) -> Step:
        """The first step: the release is made of what the committed one is made of."""
        made_of = {keys: _of(self.plan, keys) for keys in MADE_OF}
        return Step(INHERIT, {"release": self.plan["release"], "made_of": made_of}, needs={"complete": True})

    def steps(self, images: Mapping[str, str], before: Sequence[Step] = ()) -> list[Step]:
        """What becomes of the release, in order, behind the steps `before`; each as the roles do it one by one.

        `images`: ids of those that it runs, by service.
        """
        plan, name, staged = self.plan, {"release": self.plan["release"]}, len(before)
        files = release.staged(plan, images, self.there.root)
        found = [*before, Step(STAGE, {**name, "files": files, "links": {}}), Step(VERIFY, name)]
        if plan["switch"]["mode"] == "beside":
            found += self._rehearsal(images)
        reread = {} if self.restart else {"restart": (staged, "reread")}
        found += [Step(SWITCH, {**name, "restart": self.restart}, reread), self._gate(rehearsal=False)]
        commit = {**gate.committed(plan, images, self.host), "forget": self.forget}
        return [*found, Step(COMMIT, commit, {"proof": (len(found) - 1, "proof")})]

    def _rehearsal(self, images: Mapping[str, str]) -> list[Step]:
        files = release.rehearsed(self.plan, images, self.there.root)
        start = Step(REHEARSE, {"release": self.plan["release"], "files": files})
        return [start, self._gate(rehearsal=True), Step(REST, {})]

    def _gate(self, rehearsal: bool) -> Step:
        asked, seconds = gate.question(self.plan, self.there, rehearsal, self.times)
        return Step(GATE, asked, seconds=seconds)


def rehearsing(steps: Sequence[Step], answers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the series failed while a rehearsal ran."""
    reached = {step.operation for step in steps[: len(answers)]}
    return "error" in answers[-1] and REHEARSE in reached and SWITCH not in reached


def unrehearsed(name: str, error: Exception) -> str:
    """Why nothing was switched: the reason of the rehearsal."""
    return f"the rehearsal of {name} beside the release that serves did not pass, so nothing was switched: {error}"


def result(steps: Sequence[Step], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A series as a task result: `done`, `changed`, the differences, and what was changed.

    Not done where the host's committed release is made of something else. Raises HostFailedError for an answer without
    the proof that a receipt needs.
    """
    by = {step.operation: answer for step, answer in zip(steps, answers, strict=False)}
    if len(answers) < len(steps):
        return not_done(OTHERWISE)
    changes = [line for operation in (STAGE, SWITCH) for line in by[operation]["changes"]]
    diff = {"diff": by[STAGE]["diff"]} if by[STAGE]["diff"] else {}
    if not by[GATE]["proof"]:
        raise HostFailedError("found no proof of the gate from the host, needed one: run the same command again")
    answer = {"changes": changes, "ready_seconds": by[GATE]["ready_seconds"], "generation": by[GATE]["generation"]}
    return {"changed": any(answer.get("changed") for answer in by.values()), "done": True, "answer": answer, **diff}


def not_done(why: str) -> dict[str, Any]:
    """The result of a task that leaves it to the roles, and changed nothing."""
    return {"changed": False, "done": False, "msg": why}


def _of(plan: Mapping[str, Any], keys: str) -> Any:
    found: Any = plan
    for key in keys.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
