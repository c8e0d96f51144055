"""What the doctor's checks take and give: the case of one host, and findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.facts.model import HostFacts, OperatingSystem
from phi4_edge.core.facts.sources import KINDS, MOST_TEXT
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.packages import commands
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError

CONTROLLER = "(controller)"
NOWHERE = OperatingSystem("", "", "", ())


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one host: what was found, what was needed, and what mends it. All texts are printable lines."""

    host: str
    check: str
    level: Level
    found: str = ""
    needed: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """The finding as it is published."""
        return {
            "host": self.host, "check": self.check, "level": str(self.level), "found": self.found,
            "needed": self.needed, "fix": self.fix,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gathered:
    """Raw texts of one host by source. The host is not trusted: all of it is data, and anything may be absent."""

    document: Mapping[str, Any]

    def text(self, source: str) -> str:
        """Return the text of a source, "" where it has none."""
        text = self._entry(source).get("text")
        return text[:MOST_TEXT] if isinstance(text, str) else ""

    def lines(self, source: str, most: int = 200) -> list[str]:
        """Return the first `most` lines that are not empty, printable."""
        return [line for line in (clean(line, 300) for line in self.text(source).splitlines()[: 4 * most]) if line][
            :most
        ]

    def gap(self, source: str) -> str:
        """Return why a source has no text: its kind, "" where it has one."""
        kind = self._entry(source).get("gap")
        if kind in KINDS:
            return str(kind)
        return "" if isinstance(self._entry(source).get("text"), str) else "missing"

    def detail(self, source: str) -> str:
        """Return what a failed source said."""
        return clean(self._entry(source).get("detail"), 200)

    def _entry(self, source: str) -> Mapping[str, Any]:
        sources = self.document.get("sources")
        entry = sources.get(source) if isinstance(sources, Mapping) else None
        return entry if isinstance(entry, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Case:
    """One host that was reached. `facts` and `plan` are None where the probe's answer could not be used.

    `host_document` is what the role doctor gave (phi4-edge/doctor-host/1), `facts_document` what the probe gave.
    """

    host: str
    host_document: Mapping[str, Any]
    facts_document: Mapping[str, Any] = field(default_factory=dict)
    facts: HostFacts | None = None
    plan: Plan | None = None
    overrides: Overrides = field(default_factory=Overrides)
    catalog: Catalog | None = None

    @property
    def root(self) -> Gathered:
        """What the script that ran as root gathered."""
        return Gathered(self.part("root"))

    @property
    def probe(self) -> Gathered:
        """The raw sources of the probe."""
        return Gathered(self.facts_document)

    def part(self, name: str) -> Mapping[str, Any]:
        """Return an object of the host's document, {} where there is none."""
        found = self.host_document.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def system(self) -> OperatingSystem:
        """The host's distribution, as far as it is known."""
        return self.facts.os if self.facts is not None else NOWHERE

    def install(self, package: str) -> str:
        """Return the command that installs a package on this host."""
        return commands.install(self.system, package, self.root.text("package_manager"))

    @property
    def needs_packages(self) -> bool:
        """Whether the plan has the host's package manager install something."""
        if self.plan is None or self.plan.install is None or self.plan.action == "none":
            return False
        return self.plan.install.docker or self.plan.install.nvidia_toolkit or self.plan.install.nvidia_driver

    @property
    def needs_docker(self) -> bool:
        """Whether anything of the plan runs in Docker."""
        plan = self.plan
        return plan is not None and plan.fits and (plan.service_manager == "compose" or plan.webui is not None)

    def note(self, check: str, found: str, needed: str, fix: str) -> Finding:
        """Return a finding that is good to know."""
        return self._finding(check, Level.NOTE, found, needed, fix)

    def warning(self, check: str, found: str, needed: str, fix: str) -> Finding:
        """Return a finding that costs something and stops nothing."""
        return self._finding(check, Level.WARNING, found, needed, fix)

    def problem(self, check: str, found: str, needed: str, fix: str) -> Finding:
        """Return a finding that would stop provisioning."""
        return self._finding(check, Level.PROBLEM, found, needed, fix)

    def told(self, condition: Condition) -> Finding:
        """Return what the judge says of the host as a finding."""
        return self._finding(condition.check, condition.level, condition.found, condition.needed, condition.fix)

    def when(self, stops: bool, check: str, found: str, needed: str, fix: str) -> Finding:
        """Return a problem where it `stops` the plan, else a warning."""
        return (self.problem if stops else self.warning)(check, found, needed, fix)

    def _finding(self, check: str, level: Level, found: str, needed: str, fix: str) -> Finding:
        return Finding(self.host, check, level, clean(found, 600), clean(needed, 300), clean(fix, 900))


def opened(case: Case, decided: Callable[[], tuple[HostFacts, Plan]]) -> tuple[Case, list[Finding]]:
    """Return the case with facts and plan, and what is said of facts that cannot be used.

    `decided` may raise FactsError; it is not asked where the probe gave nothing.
    """
    if not case.facts_document:
        return case, []
    try:
        facts, plan = decided()
    except FactsError as error:
        return case, [trouble(case.host, "facts", str(error), commands.see(case.host))]
    return replace(case, facts=facts, plan=plan), []


def trouble(host: str, check: str, message: str, fix: str) -> Finding:
    """Return the problem that an error's message tells of: found, needed."""
    found, _, needed = message.removeprefix("found ").partition(", needed ")
    return Finding(host, check, Level.PROBLEM, found, needed or "facts of the host", fix)


def numbers(value: object, most: int = 50) -> list[float]:
    """Return the finite non-negative numbers of a list that a host sent."""
    listed = value[:most] if isinstance(value, Sequence) and not isinstance(value, str) else []
    return [float(item) for item in listed if isinstance(item, int | float) and math.isfinite(item) and item >= 0]


def least(value: object) -> float | None:
    """Return the smallest of the numbers of a list that a host sent, None where there is none.

    Of times this is the cost itself: what is above it is other work of a busy host, which also moves their middle.
    """
    return min(numbers(value), default=None)


def milliseconds(seconds: float) -> str:
    """Return a short time as text: 170 ms, 5.2 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
