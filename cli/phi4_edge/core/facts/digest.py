"""Whether a host is still the machine that a plan was made for: a digest of what does not change by itself.

Left out is what moves while nobody does anything (free memory and disk, load, what listens), what a reboot changes
(boot id), and what our own steps install: a run that was cut short must be able to go on with the same plan.
"""

from __future__ import annotations

import hashlib
from typing import Any

from phi4_edge.core.facts.model import Gpu, HostFacts, to_plain
from phi4_edge.core.text import canonical

# Memory is reported a few pages more or less after every boot.
_RAM_STEP = 100 * 1000 * 1000
_AS_THEY_ARE = ("hostname", "architecture", "os", "libc", "python", "cpu", "board", "displays", "jetson", "init")


def facts_digest(facts: HostFacts) -> str:
    """Return the digest; equal for two looks at a host that nobody changed in between."""
    return hashlib.sha256(canonical(_stable(facts)).encode()).hexdigest()


def _stable(facts: HostFacts) -> dict[str, Any]:
    return {
        **{name: to_plain(getattr(facts, name)) for name in _AS_THEY_ARE},
        "ram": round(facts.ram_bytes / _RAM_STEP),
        "limited": facts.cgroup.memory_limit is not None,
        "disks": [[disk.path, disk.total, disk.filesystem, disk.standing] for disk in facts.disks],
        "gpus": [_gpu(gpu) for gpu in facts.nvidia.gpus],
        "committed": [facts.receipt.release, facts.receipt.fingerprint],
        "drift": _drift(facts),
    }


def _drift(facts: HostFacts) -> list[list[str]]:
    """Return what somebody changed in managed files; what a run that was cut has begun is no such thing."""
    return [] if facts.journal.open else sorted([found.path, found.problem] for found in facts.receipt.drift)


def _gpu(gpu: Gpu) -> list[Any]:
    memory = round(gpu.memory_total / _RAM_STEP) if gpu.unified else gpu.memory_total
    return [gpu.uuid or gpu.index, gpu.name, memory, gpu.driver]
