"""Checks of what was planned: whether anything fits, who is at work, what an earlier run left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

from phi4_edge.core.doctor import engines
from phi4_edge.core.doctor.case import Case, Finding
from phi4_edge.core.facts.lock import described
from phi4_edge.core.facts.status import endings
from phi4_edge.core.facts.units import STANDING
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.judge import judge
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.layout import LOAD_UNIT, SOCKET_UNIT, UNIT
from phi4_edge.core.plan import needs
from phi4_edge.core.text import parts

# Of restarts, or of kills: one or two may be an update, or somebody's hand.
MANY = 3


def fit(case: Case) -> Iterator[Finding]:
    """Whether there is a plan for the host at all."""
    plan = case.plan
    if plan is None:
        return
    see = f"see why: phi4-edge plan INVENTORY --limit {case.host}"
    if not plan.fits:
        found = "; ".join(plan.missing) or "nothing in the catalog fits"
        yield case.problem("plan", found, f"what the profile {plan.nearest_profile} needs at least", see)
    elif not plan.applicable:
        found, needed, fix = parts(plan.not_applicable or "no way to install it")
        yield case.problem("plan", found, needed or "another engine: phi4_engine", f"{fix}; {see}" if fix else see)
    for name in case.facts.truncated if case.facts is not None else ():
        yield case.note("plan", f"the host's {name} was too long to read in full", "all of it", see)


def judged(case: Case) -> Iterator[Finding]:
    """What the plan says of its host too, with what only a look as root tells beside it."""
    if case.facts is None or case.catalog is None:
        return
    wanted = Wanted()
    if case.plan is not None:
        wanted = needs.wanted(case.plan, case.facts, case.catalog, case.overrides)
    for condition in judge(case.facts, case.catalog, wanted):
        told = replace(condition, found=condition.found + _detail(case, condition))
        stopped = engines.stopped_by_a_restart(case) if _orphaned(case, condition) else 0
        if stopped:
            fix = f"{condition.fix}; meanwhile it stops {stopped} containers, see: docker ps"
            told = replace(told, level=Level.PROBLEM, fix=fix)
        yield case.told(told)


def _orphaned(case: Case, condition: Condition) -> bool:
    """Whether the condition is about our port, which Docker holds for no container."""
    orphaned = case.facts.orphaned if case.facts is not None else ""
    return condition.check == "port" and orphaned != "" and orphaned in condition.found


def _detail(case: Case, condition: Condition) -> str:
    """Return what the script that runs as root knows beside what the judge found."""
    if condition.check == "port":
        port = condition.found.split()[1]
        owners = [line.split(" ", 2) for line in case.root.lines("listeners") if line.startswith(f"{port} ")]
        return f" by process {owners[0][1]} ({owners[0][2]})" if owners and len(owners[0]) == 3 else ""
    if condition.check == "driver" and case.facts is not None and case.facts.nvidia.state == "mismatch":
        lines = dict(line.partition(" ")[::2] for line in case.root.lines("nvidia_versions"))
        both = f" (module {lines.get('kernel') or 'unknown'}, library {lines.get('library') or 'unknown'})"
        return both if lines else ""
    return ""


def service(case: Case) -> Iterator[Finding]:
    """How what an earlier run installed stands: its unit, its files, its receipt."""
    if case.facts is None:
        return
    unit, receipt = case.facts.service, case.facts.receipt
    see = f"phi4-edge status INVENTORY --limit {case.host}; journalctl -u phi4-edge -n 50 on it"
    if unit is not None and not unit.foreign and unit.active == "failed":
        yield case.warning("service", f"{UNIT} has failed", "one that runs", see)
    yield from _ended(case, see)
    again = f"phi4-edge provision INVENTORY --limit {case.host} repairs them"
    if unit is not None and receipt.present and not unit.holds_port:
        found = f"{SOCKET_UNIT} is {unit.socket}: others on the host can take the port"
        yield case.warning("service", found, STANDING, again.replace("them", "it"))
    if unit is not None and receipt.present and not unit.keeps_loaded:
        found = f"{LOAD_UNIT} is {unit.loader}: nothing loads the model again after a start or a kill"
        yield case.warning("service", found, STANDING, again.replace("them", "it"))
    if receipt.present and receipt.error:
        yield case.warning("receipt", receipt.error, "a receipt that can be read", again)
    elif receipt.drift:
        found = f"{len(receipt.drift)} managed files are not as committed, such as {receipt.drift[0].path}"
        yield case.warning("receipt", found, "the files of the release", again)


def _ended(case: Case, see: str) -> Iterator[Finding]:
    """What was ended without anybody asking for it."""
    if case.facts is None or case.facts.service is None or case.facts.service.foreign:
        return
    for ending in endings(case.facts):
        if ending.starved:
            less = "give it less to do with phi4_context_length or phi4_parallel, or another phi4_quantization"
            yield case.warning("service", ending.text, "none", f"{see}; {less}")
        elif ending.number >= MANY:
            yield case.warning("service", ending.text, "none", see)
        else:
            yield case.note("service", ending.text, "none", see)


def at_work(case: Case) -> Iterator[Finding]:
    """A run that holds the host now, and a run that was cut off there."""
    if case.facts is None:
        return
    lock, journal = case.facts.lock, case.facts.journal
    if lock.present:
        said = f"the lock of {described(asdict(lock))}"
        release = f"phi4-edge lock release INVENTORY --limit {case.host}"
        if lock.state == "held":
            fix = f"wait for that run, or give provision --lock-wait 600; if it is dead: {release}"
            yield case.problem("lock", said, "no other run on the host", fix)
        else:
            fix = f"nothing to do: the next run takes it over; or {release}"
            yield case.note("lock", f"{said}, whose run is gone", "none", fix)
    if journal.open and lock.state != "held":  # the run that holds it is in the middle of it
        where = f"{journal.step or 'unknown'} ({journal.phase or 'unknown'}) of release {journal.release or 'unknown'}"
        fix = f"phi4-edge provision INVENTORY --limit {case.host} finishes or undoes it first"
        yield case.warning("journal", f"a run was cut off at step {where}", "a finished one", fix)
