"""Which hosts of a rollout are changed when: a canary of every kind of plan, then wave after wave."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi4_edge.core.plan.model import Plan
from phi4_edge.core.text import clean
from phi4_edge.errors import WaveError

__all__ = ["Size", "Wave", "WaveError", "kind_of", "plan_waves"]

_SIZE = re.compile(r"([0-9]{1,6})(%?)")


@dataclass(frozen=True, slots=True)
class Size:
    """A number of hosts, or a percentage of them."""

    number: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size in "3" or "20%"; raises WaveError."""
        found = _SIZE.fullmatch(text.strip())
        size = cls(int(found[1]), bool(found[2])) if found else None
        if size is None or (size.percent and size.number > 100):
            raise WaveError(
                f"found {clean(text, 40) or 'nothing'}, needed a number of hosts such as 3, or a percentage such as 20%"
            )
        return size

    def of(self, total: int) -> int:
        """Return how many of `total` hosts these are: never more than there are; a percentage is rounded up."""
        return min(total, -(-self.number * total // 100) if self.percent else self.number)

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


@dataclass(frozen=True, slots=True)
class Wave:
    """Hosts that are changed together. `number` counts from 0 over all waves, the canary included."""

    name: str
    number: int
    hosts: tuple[str, ...]


def plan_waves(kinds: Mapping[str, Hashable], canary: Size | None, wave: Size) -> tuple[Wave, ...]:
    """Return waves in which every host of `kinds` (host → kind of its plan, in inventory order) is exactly once.

    The canary holds the first host of each kind; with a size it is that large, and holds as many kinds as it can.
    Raises WaveError for a wave of no hosts.
    """
    if wave.number == 0:
        raise WaveError(f"found a wave of {wave}, needed at least one host: give --wave a number, or a percentage")
    hosts = list(kinds)
    first = _canary(kinds, canary)
    rest = [host for host in hosts if host not in first]
    step = max(1, wave.of(len(hosts)))
    named: list[tuple[str, Sequence[str]]] = [("canary", [host for host in hosts if host in first])] if first else []
    named += [(f"wave {number}", part) for number, part in enumerate(_parts(rest, step), 1)]
    return tuple(Wave(name, number, tuple(part)) for number, (name, part) in enumerate(named))


def _canary(kinds: Mapping[str, Hashable], size: Size | None) -> frozenset[str]:
    """Return the hosts that go first."""
    seen: dict[Hashable, str] = {}
    for host, kind in kinds.items():
        seen.setdefault(kind, host)
    if size is None:
        return frozenset(seen.values())
    ordered = dict.fromkeys([*seen.values(), *kinds])
    return frozenset(list(ordered)[: size.of(len(kinds))])


def _parts(hosts: Sequence[str], step: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(hosts), step):
        yield hosts[start : start + step]


def kind_of(plan: Plan) -> Hashable:
    """Return what two plans have in common that stand or fall together.

    That is the engine with its files for this architecture, the model and how both are run; not what only fits the
    size of the host, such as threads or the context length.
    """
    model, runtime, image = plan.model, plan.runtime, plan.image
    return (
        plan.engine,
        plan.quantization,
        plan.accelerator,
        plan.service_manager,
        (model.artifact, model.digest) if model else None,
        (runtime.arch, runtime.python, runtime.id or runtime.digest) if runtime else None,
        (image.key, image.digest, image.cuda) if image else None,
        plan.webui.image.key if plan.webui else None,
    )
