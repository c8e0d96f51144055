"""How a new release takes over from the one that serves: beside it where memory holds both, else after it."""

from __future__ import annotations

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import status
from phi4_edge.core.plan.changes import restarts
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import Memory, Switch
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import gb

FIRST_PORT = 18080


def switch(it: Chosen, memory: Memory, kind: str, same: bool) -> Switch:
    """Return how the planned release takes over; `kind` is the plan's action, `same` that the release is there."""
    if kind == "none" or (same and status(it.facts.receipt, it.facts.service) == "serving"):
        return Switch()
    port = spare_port(it.facts, it.overrides)
    start = it.engine.start[it.accelerator].seconds
    reading = int(memory.weights / it.catalog.speed.disk_read(it.facts.board)) + 1
    if not serving(it.facts):
        return Switch("first", port, 0, "no release of ours serves on the host now")
    if kind == "repair" and not restarts(it.facts):
        return Switch()
    why = "the same release is repaired in place" if same else _not_beside(it, memory)
    if why:
        seconds = start + reading
        return Switch("down", port, seconds, f"{why}; no answers for about {_duration(seconds)} (an estimate)")
    reason = (
        f"the current release keeps serving until the new one has answered on port {port}; "
        f"then no answers for about {_duration(start)} (an estimate)"
    )
    return Switch("beside", port, start, reason)


def serving(facts: HostFacts) -> bool:
    """Return whether a release of ours answers on the host now."""
    return facts.receipt.present and facts.service is not None and facts.service.active == "active"


def spare_port(facts: HostFacts, overrides: Overrides) -> int:
    """Return the first port from 18080 on that nothing listens on and that is not promised to anything of ours."""
    taken = {port for _, port in facts.listening} | {overrides.port, overrides.webui_port, facts.receipt.port}
    # At most 500 listeners are reported, so one of these is free.
    return next(port for port in range(FIRST_PORT, 65536) if port not in taken)


def _not_beside(it: Chosen, memory: Memory) -> str:
    """Return why old and new cannot run at the same time, or ""."""
    facts, old, reserve = it.facts, it.facts.receipt, it.table.os_reserve + it.beside
    if not old.memory_need:
        return "how much memory the current release takes is not on record"
    # A rehearsal has been asked one thing. The one that serves may have been asked all that it can hold.
    need = memory.ram_need - memory.later
    both = old.memory_need + need + reserve
    page = " and the chat page" if it.beside else ""
    if both > facts.ram_bytes:
        return (
            f"old and new do not fit in RAM together ({gb(old.memory_need)} and {gb(need)}, "
            f"{gb(reserve)} for the system{page}: {gb(both)} of {gb(facts.ram_bytes)})"
        )
    if memory.vram_need and old.vram_need and old.vram_need + memory.vram_need > memory.available:
        return (
            f"old and new do not fit in VRAM together ({gb(old.vram_need)} and {gb(memory.vram_need)} "
            f"of {gb(memory.available)})"
        )
    available = facts.mem_available
    if available is not None and available < need:
        return f"{gb(available)} of RAM are available beside the current release, {gb(need)} needed"
    return ""


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
