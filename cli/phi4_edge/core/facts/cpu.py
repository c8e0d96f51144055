"""CPU facts: cores and threads inside the cpuset, quota, and the instructions that kernels are chosen by."""

from __future__ import annotations

from phi4_edge.core.facts.model import Cpu
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean, integer

# Name in /proc/cpuinfo -> name here.
FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "asimd": "neon",
    "neon": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
}
# ARM cores carry no name in cpuinfo, only a part number (Arm's MIDR_EL1 tables).
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE",
}
# CONFIG_NR_CPUS_RANGE_END of x86-64 Linux.
MOST_CPUS = 8192

_WANTED = frozenset({"processor", "physical id", "core id", "model name", "flags", "Features", "CPU part"})


def parse(sources: Sources, quota: float | None) -> Cpu:
    """Return the CPU facts; a host that tells nothing counts as one core without special instructions."""
    info = _CpuInfo(sources.lines("cpuinfo"))
    if not info.processors:
        sources.gap("cpuinfo", "nonsense", "no processor found")
    allowed = _cpu_list(sources.text("cpu_affinity"))
    if allowed is None:
        sources.gap("cpu_affinity", "nonsense", "not a list of CPUs")
    usable = allowed or frozenset(info.processors) or frozenset({0})
    topology = _topology(sources.lines("cpu_topology")) or info.topology
    # Without topology (ARM boards) every thread is a core of its own.
    cores = {topology.get(cpu, (-1, cpu)) for cpu in usable}
    return Cpu(
        model=info.model,
        processors=len(usable),
        cores=len(cores),
        quota=quota,
        features=frozenset(FEATURES[flag] for flag in info.flags if flag in FEATURES),
    )


class _CpuInfo:
    """One pass over /proc/cpuinfo."""

    def __init__(self, lines: list[str]) -> None:
        self.processors: list[int] = []
        self.topology: dict[int, tuple[int, int]] = {}
        self.model = ""
        self.flags: list[str] = []
        self._package: int | None = None
        for line in lines:
            key, colon, value = line.partition(":")
            if colon and (key := key.strip()) in _WANTED:
                self._take(key, value.strip())

    def _take(self, key: str, value: str) -> None:
        if key in ("flags", "Features"):
            self.flags = self.flags or value.split()
        elif key == "model name":
            self.model = self.model or clean(value, 80)
        elif key == "CPU part":
            self.model = self.model or ARM_PARTS.get(value, "")
        elif (number := integer(value)) is not None and number < MOST_CPUS:
            self._place(key, number)

    def _place(self, key: str, number: int) -> None:
        if key == "processor":
            self.processors.append(number)
            self._package = None
        elif key == "physical id":
            self._package = number
        elif self.processors and self._package is not None:
            self.topology[self.processors[-1]] = (self._package, number)


def _topology(lines: list[str]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for line in lines[:MOST_CPUS]:
        numbers = [integer(word) for word in line.split()]
        match numbers:
            case [int(cpu), int(core), int(package)]:
                found[cpu] = (package, core)
    return found


def _cpu_list(text: str) -> frozenset[int] | None:
    """Return the CPUs of a list such as "0-3,8"; empty for no text, None for nonsense."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        start = integer(first)
        end = integer(last) if dash else start
        if start is None or end is None or not start <= end < MOST_CPUS:
            return None
        found.update(range(start, end + 1))
    return frozenset(found)
