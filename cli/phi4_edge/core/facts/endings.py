"""What of the service on a host was ended and started again without anybody asking for it, in sentences. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.units import ModelState


@dataclass(frozen=True, slots=True)
class Ending:
    """One kind of end and a sentence that says how often and when; `number` of them, `starved` for want of memory."""

    text: str
    number: int
    starved: bool = False


def memory_kills(facts: HostFacts) -> int:
    """Return how many of the service's processes the kernel has ended for want of memory, as far as anybody counted.

    The control group's count begins with each start of the service or the container, that of the loader with its own.
    """
    service = facts.service
    counted = (service.memory_kills, service.model.memory_kills) if service is not None else ()
    inside = sum(item.memory_kills for item in facts.receipt.containers or () if item.service == "engine")
    return max(*counted, inside) if counted else inside


def endings(facts: HostFacts) -> tuple[Ending, ...]:
    """Return each kind of end, the service's first; () for a service that nothing ended."""
    service = facts.service
    restarts, since = (service.restarts, service.since) if service is not None else (0, "")
    model = service.model if service is not None else ModelState()
    starved = memory_kills(facts)
    found = []
    if restarts:
        found.append(Ending(f"the service was restarted {_times(restarts)}{_last(since)}", restarts))
    if model.kills:
        of = f", {_times(starved)} for lack of memory" if starved else ""
        text = f"the model's process was killed {_times(model.kills)}{of}{_last(model.last)}"
        found.append(Ending(text, model.kills, bool(starved)))
    elif starved:
        text = f"the kernel has killed a process of the service {_times(starved)} for lack of memory"
        found.append(Ending(text, starved, starved=True))
    return tuple(found)


def _last(when: str) -> str:
    return f", last at {when}" if when else ""


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
