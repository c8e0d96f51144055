"""What others hold now: memory, ports, and the name of our unit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.inventory import EVERYWHERE
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.layout import UNIT
from phi4_edge.core.text import gb


def conditions(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """Yield what takes what the plan wants; on a host that is as planned that is our own release."""
    yield from _unit(facts)
    if wanted.idle:
        return
    available = facts.mem_available
    if wanted.memory is not None and not wanted.force and available is not None and available < wanted.memory:
        yield Condition(
            "memory", Level.PROBLEM, f"{gb(available)} of memory available now",
            f"{gb(wanted.memory)} for {wanted.label}",
            "stop what takes it (see it: ps -eo pid,rss,comm --sort=-rss | head), or set phi4_force: true",
        )  # fmt: skip
    for port, bind, variable in wanted.ports:
        address = next((at for at, taken in facts.listening if taken == port and _same(at, bind)), "")
        if address:
            yield Condition(
                "port", Level.PROBLEM, f"port {port} is in use on {address}", "a free port",
                f"stop what listens there (see it: sudo ss -ltnp 'sport = :{port}'), or set "
                f"{variable}={_free(facts, port)} in the inventory",
            )  # fmt: skip


def _same(address: str, bind: str) -> bool:
    return address in (bind, *EVERYWHERE) or bind in EVERYWHERE


def _free(facts: HostFacts, port: int) -> int:
    """Return the first free port above one, or below it where there is none; at most 4096 are taken."""
    taken = {number for _, number in facts.listening}
    return next(number for number in chain(range(port + 1, 65536), range(port - 1, 0, -1)) if number not in taken)


def _unit(facts: HostFacts) -> Iterator[Condition]:
    service = facts.service
    if service is None:
        return
    if service.load == "masked":
        fix = f"sudo systemctl unmask {UNIT}"
        yield Condition("unit", Level.PROBLEM, f"{UNIT} is masked", "a unit that may be started", fix)
    if service.foreign and not facts.receipt.present:
        yield Condition(
            "unit", Level.PROBLEM, f'{UNIT} on the host is not ours ("{service.description}")',
            f"the name {UNIT} for our unit",
            f"see it: systemctl cat {UNIT}; if it is not needed: sudo systemctl disable --now {UNIT}, then move its "
            "file away and sudo systemctl daemon-reload",
        )  # fmt: skip
