"""CPU facts: cores and threads inside the cpuset, quota, and the instructions that kernels are chosen by."""

from __future__ import annotations

from collections.abc import Callable

from phi4_edge.core.facts.cgroup import Limits
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
# Arm cores carry no name in cpuinfo, only a part number (Arm's MIDR_EL1 tables). Small ones first: those that stand
# beside fast ones to save power; then the others; then those of which there are one or two, or that are alone.
_SMALL, _LARGE, _LARGEST = 1, 2, 3
ARM_PARTS = {
    "0xd01": ("Cortex-A32", _SMALL),
    "0xd02": ("Cortex-A34", _SMALL),
    "0xd03": ("Cortex-A53", _SMALL),
    "0xd04": ("Cortex-A35", _SMALL),
    "0xd05": ("Cortex-A55", _SMALL),
    "0xd46": ("Cortex-A510", _SMALL),
    "0xd80": ("Cortex-A520", _SMALL),
    "0xd07": ("Cortex-A57", _LARGE),
    "0xd08": ("Cortex-A72", _LARGE),
    "0xd09": ("Cortex-A73", _LARGE),
    "0xd0a": ("Cortex-A75", _LARGE),
    "0xd0b": ("Cortex-A76", _LARGE),
    "0xd0c": ("Neoverse-N1", _LARGE),
    "0xd0d": ("Cortex-A77", _LARGE),
    "0xd40": ("Neoverse-V1", _LARGE),
    "0xd41": ("Cortex-A78", _LARGE),
    "0xd42": ("Cortex-A78AE", _LARGE),
    "0xd47": ("Cortex-A710", _LARGE),
    "0xd4d": ("Cortex-A715", _LARGE),
    "0xd81": ("Cortex-A720", _LARGE),
    "0xd87": ("Cortex-A725", _LARGE),
    "0xd44": ("Cortex-X1", _LARGEST),
    "0xd48": ("Cortex-X2", _LARGEST),
    "0xd4e": ("Cortex-X3", _LARGEST),
    "0xd82": ("Cortex-X4", _LARGEST),
    "0xd85": ("Cortex-X925", _LARGEST),
}
# Two kinds of core differ more than cores of one kind that clock a little higher than others (1024 is the fastest).
_ALIKE = 0.8
# One fast core alone computes less than it does together with those of the next kind.
_FEWEST_CORES = 2
# CONFIG_NR_CPUS_RANGE_END of x86-64 Linux.
MOST_CPUS = 8192

_WANTED = frozenset({"processor", "physical id", "core id", "model name", "flags", "Features", "CPU part"})


def parse(sources: Sources, limits: Limits) -> Cpu:
    """Return the CPU facts; a host that tells nothing counts as one core without special instructions."""
    info = _CpuInfo(sources.lines("cpuinfo"))
    if not info.processors:
        sources.gap("cpuinfo", "nonsense", "no processor found")
    allowed = _cpu_list(sources.text("cpu_affinity"))
    if allowed is None:
        sources.gap("cpu_affinity", "nonsense", "not a list of CPUs")
    usable, cpuset_by = _of_service(sources, limits, allowed or frozenset(info.processors) or frozenset({0}))
    # lxcfs lists as many as a container's limit on CPU time comes to; what sets the limit is outside of its sight.
    listed = len(set(info.processors)) if "cpuinfo" not in sources.truncated else 0
    most = min(len(usable), listed or len(usable))
    topology = _topology(sources.lines("cpu_topology")) or info.topology

    def cores(cpus: frozenset[int]) -> int:
        # Without topology (ARM boards) every thread is a core of its own.
        return min(most, len({topology.get(cpu, (-1, cpu)) for cpu in cpus}))

    fast = _fastest(_kinds(sources, info, usable), cores)
    return Cpu(
        model=info.model or _arm_name(info, fast),
        processors=most,
        cores=cores(usable),
        fast_cores=cores(fast),
        quota=limits.quota,
        features=frozenset(FEATURES[flag] for flag in info.flags if flag in FEATURES),
        quota_by=limits.quota_by,
        cpuset_by=cpuset_by,
    )


def _of_service(sources: Sources, limits: Limits, allowed: frozenset[int]) -> tuple[frozenset[int], str]:
    """Return the CPUs of a service, and what keeps it from others; what a login is `allowed` where nothing tells."""
    if not limits.of_service:
        return allowed, ""
    started = _cpu_list(sources.text_or_none("service_affinity") or "") or allowed
    cpuset = _cpu_list(limits.cpuset) or started
    return started & cpuset or cpuset, "" if started <= cpuset else limits.cpuset_by


def _fastest(kinds: list[frozenset[int]], cores: Callable[[frozenset[int]], int]) -> frozenset[int]:
    """Return the CPUs of the fastest kind, of `kinds` from fast to slow, and of the next while there are too few."""
    found = kinds[0]
    for slower in kinds[1:]:
        if cores(found) >= _FEWEST_CORES:
            break
        found |= slower
    return found


def _kinds(sources: Sources, info: _CpuInfo, usable: frozenset[int]) -> list[frozenset[int]]:
    """Return the usable CPUs by kind, the fastest first; one kind where nothing tells them apart.

    What an x86 kernel calls performance cores, else the class of Arm's part and the speed that an Arm kernel knows.
    A kernel without figures of its own calls all of them equal.
    """
    performance = _cpu_list(sources.text_or_none("performance_cpus") or "") or frozenset()
    if performance & usable:
        return [kind for kind in (performance & usable, usable - performance) if kind]
    speeds = _capacities(sources.text_or_none("cpu_capacity") or "")
    classes = {cpu: ARM_PARTS.get(part, ("", _LARGE))[1] for cpu, part in info.parts.items()}
    # A container's cpuinfo may number them anew, so that they are not those of the CPU set.
    classes = classes if usable <= classes.keys() else {}
    speeds = speeds if usable <= speeds.keys() else {}
    found: list[frozenset[int]] = []
    rest = usable
    while rest:
        best = max(rest, key=lambda cpu: (classes.get(cpu, 0), speeds.get(cpu, 0)))
        alike = frozenset(
            cpu
            for cpu in rest
            if classes.get(cpu) == classes.get(best) and speeds.get(cpu, 0) >= _ALIKE * speeds.get(best, 0)
        )
        found.append(alike)
        rest -= alike
    return found


def _capacities(text: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for line in text.splitlines()[:MOST_CPUS]:
        match [integer(word) for word in line.split()]:
            case [int(cpu), int(capacity)]:
                found[cpu] = capacity
    return found


def _arm_name(info: _CpuInfo, fast: frozenset[int]) -> str:
    """Return the name of the fast cores; of the first that has one where they have none."""
    parts = [info.parts[cpu] for cpu in sorted(info.parts, key=lambda cpu: (cpu not in fast, cpu))]
    return next((ARM_PARTS[part][0] for part in parts if part in ARM_PARTS), "")


class _CpuInfo:
    """One pass over /proc/cpuinfo."""

    def __init__(self, lines: list[str]) -> None:
        self.processors: list[int] = []
        self.topology: dict[int, tuple[int, int]] = {}
        self.parts: dict[int, str] = {}
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
            if self.processors:
                self.parts.setdefault(self.processors[-1], value.lower())
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
