"""Checks of what was planned: whether anything fits, what blocks it, who is at work, what an earlier run left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict

from phi4_edge.core.doctor import fix as doctor_fix
from phi4_edge.core.doctor.case import Case, Finding
from phi4_edge.core.facts.endings import endings
from phi4_edge.core.facts.lock import described
from phi4_edge.core.facts.units import STANDING
from phi4_edge.core.layout import LOAD_UNIT, SOCKET_UNIT, UNIT
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


def blockers(case: Case) -> Iterator[Finding]:
    """What the plan itself says stands in its way, each with the command that removes it."""
    for text in case.plan.blockers if case.plan is not None else ():
        if re.match(r"[a-z-]+ [\d.]+ is older than ", text):
            continue  # told by the check of known flaws, with what it takes to update
        if re.match(r"/\S+ is on a file system that is mounted ", text):
            continue  # told by the check of disks, with the mount point
        for shape, make in _BLOCKERS:
            match = re.search(shape, text)
            if match:
                yield make(case, text, match)
                break
        else:
            found, _, fix = text.removeprefix("found ").partition(": ")
            yield case.problem("plan", found, "a host that the plan can be applied to", fix or "mend that")


def _port(case: Case, text: str, match: re.Match[str]) -> Finding:
    port, address, variable = match[1], match[2], match[3]
    owners = [line.split(" ", 2) for line in case.root.lines("listeners") if line.startswith(f"{port} ")]
    by = f" by process {owners[0][1]} ({owners[0][2]})" if owners and len(owners[0]) == 3 else ""
    fix = f"stop it (see it: sudo ss -ltnp 'sport = :{port}'), or set {variable}={_free(case, int(port))}"
    return case.problem("port", f"port {port} is in use on {address}{by}", "a free port", f"{fix} in the inventory")


def _free(case: Case, port: int) -> int:
    taken = {number for _, number in case.facts.listening} if case.facts is not None else set()
    return next(number for number in range(port + 1, port + 5000) if number not in taken)


def _disk(case: Case, text: str, _match: re.Match[str]) -> Finding:
    before, _, free = text.removeprefix("disk: ").rpartition(", ")
    clear = doctor_fix.clear_cache(case.system, case.root.text("package_manager"))
    fix = (
        f"{clear}; sudo journalctl --vacuum-size=100M; see what is large: sudo du -xh -d2 /var /opt | sort -h | tail; "
        f"or mount a larger disk at {case.overrides.layout.state}"
    )
    return case.problem("disk", free, before, fix)


def _fleeting(case: Case, text: str, _match: re.Match[str]) -> Finding:
    found, _, rest = text.removeprefix("disk: ").partition(", needed ")
    needed, _, fix = rest.partition(". ")
    return case.problem("disk", found, needed, fix)


def _memory(case: Case, text: str, _match: re.Match[str]) -> Finding:
    found, _, needed = text.partition(";")[0].removeprefix("memory: ").partition(", ")
    fix = "stop what takes it (see it: ps -eo pid,rss,comm --sort=-rss | head), or set phi4_force=true"
    return case.problem("memory", found, needed, fix)


def _masked(case: Case, text: str, _match: re.Match[str]) -> Finding:
    found = text.partition(";")[0]
    return case.problem("unit", found, "a unit that may be started", f"sudo systemctl unmask {UNIT}")


def _foreign(case: Case, text: str, _match: re.Match[str]) -> Finding:
    fix = (
        f"see it: systemctl cat {UNIT}; if it is not needed: sudo systemctl disable --now {UNIT}, "
        "then move its file away and sudo systemctl daemon-reload"
    )
    return case.problem("unit", text.partition(";")[0], f"the name {UNIT} for our unit", fix)


def _standing(case: Case, text: str, match: re.Match[str]) -> Finding:
    fix = f"sudo mv {match[1]} {match[1]}.old, or mount a disk there"
    return case.problem("paths", text.partition(",")[0], "a directory owned by root there, or nothing", fix)


_BLOCKERS = (
    (r"^port (\d{1,5}) is in use on (\S+); set (\w+)", _port),
    (r"^disk: what is written below ", _fleeting),
    (r"^disk: ", _disk),
    (r"^memory: ", _memory),
    (rf"^{re.escape(UNIT)} is masked", _masked),
    (rf"^{re.escape(UNIT)} .* is not ours", _foreign),
    (r"^(/\S+) is (?:a symbolic link|no directory|another user's directory)", _standing),
)


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
