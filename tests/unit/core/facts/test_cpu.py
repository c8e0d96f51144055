"""Processors: how many threads an engine gets where cores differ, and where a container may use less than it sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse
from phi4_edge.core.facts.model import Cpu

Make = Callable[..., Any]
A53, A55, A72, A76, A78, A720, A725, X1, X925, ICESTORM = (
    "0xd03", "0xd05", "0xd08", "0xd0b", "0xd41", "0xd81", "0xd87", "0xd44", "0xd85", "0x020",
)  # fmt: skip


def listed(*parts: str) -> str:
    return "\n".join(f"processor : {cpu}\nFeatures : fp asimd\nCPU part : {part}" for cpu, part in enumerate(parts))


def capacities(*values: int) -> str:
    return "\n".join(f"{cpu} {value}" for cpu, value in enumerate(values))


def cpu_of(document: Make, host: str = "pi4-4gb", **sources: Any) -> Cpu:
    return facts_parse.parse(document(host, cpu_topology=None, **sources)).cpu


@pytest.mark.parametrize(
    ("parts", "speeds", "threads", "name"),
    [
        # RK3588, with a kernel that knows speeds, with one that knows none, and with one that calls all equal.
        ([A55] * 4 + [A76] * 4, [414] * 4 + [1010, 1010, 1024, 1024], 4, "Cortex-A76"),
        ([A55] * 4 + [A76] * 4, [], 4, "Cortex-A76"),
        ([A55] * 4 + [A76] * 4, [1024] * 8, 4, "Cortex-A76"),
        ([A53] * 4 + [A72] * 2, [], 2, "Cortex-A72"),  # RK3399
        ([A72] * 2 + [A53] * 4, [1024] * 2 + [391] * 4, 2, "Cortex-A72"),
        ([A55] * 6 + [A78] * 2, [], 2, "Cortex-A78"),
        ([A725] * 10 + [X925] * 10, [], 10, "Cortex-X925"),
        ([A725] * 10 + [X925] * 10, [718] * 10 + [1024] * 10, 10, "Cortex-X925"),
        # One core alone is slower than it is with the next kind.
        ([A55] * 4 + [A78] * 3 + [X1], [], 4, "Cortex-A78"),
        # One part, at two clocks; at nearly one; parts without a name here.
        ([A55] * 8, [600] * 4 + [1024] * 4, 4, "Cortex-A55"),
        ([A720] * 8, [985] * 4 + [1024] * 4, 8, "Cortex-A720"),
        ([ICESTORM] * 4 + ["0x021"] * 4, [500] * 4 + [1024] * 4, 4, ""),
        ([ICESTORM] * 4 + ["0x021"] * 4, [], 8, ""),
        # One kind.
        ([A78] * 6, [1024] * 6, 6, "Cortex-A78"),
        ([A53] * 4, [], 4, "Cortex-A53"),
    ],
)
def test_the_fastest_kind_of_core_sets_threads_and_name(
    document: Make, plan: Make, parts: list[str], speeds: list[int], threads: int, name: str
) -> None:
    sources = {
        "cpuinfo": listed(*parts),
        "cpu_affinity": f"0-{len(parts) - 1}",
        "cpu_capacity": capacities(*speeds) or None,
    }
    found = cpu_of(document, **sources)
    assert (found.usable_cores, found.model) == (threads, name)
    assert found.processors == found.cores == len(parts)
    whole = document("pi4-4gb", cpu_topology=None, **sources)
    assert plan(whole).knobs["threads"] == threads
    # Whoever asks for more gets them.
    assert plan(whole, threads=len(parts)).knobs["threads"] == len(parts)


@pytest.mark.parametrize(("allowed", "threads"), [("0-3", 4), ("4-7", 4), ("3-5", 2), ("2-4", 3), ("6", 1)])
def test_only_the_cores_of_the_cpu_set_are_compared(document: Make, allowed: str, threads: int) -> None:
    found = cpu_of(document, cpuinfo=listed(*[A55] * 4, *[A76] * 4), cpu_affinity=allowed)
    assert found.usable_cores == threads


def test_a_quota_is_for_the_fast_cores_too(document: Make) -> None:
    for quota, threads in ((200000, 2), (600000, 4)):
        text = f"v2\ncpu /sys/fs/cgroup/a {quota} 100000"
        found = cpu_of(document, cpuinfo=listed(*[A55] * 4, *[A76] * 4), cpu_affinity="0-7", cgroup=text)
        assert found.usable_cores == threads


@pytest.mark.parametrize(
    ("performance", "allowed", "threads"),
    [
        (None, "0-15", 12),
        ("0-7", "0-15", 4),  # 4 performance cores of two threads each, 8 efficient ones
        ("0-7", "0,1,8-15", 9),  # one fast core alone is joined by the others
        ("0-7", "8-15", 8),
        ("0-7", "0-3,8", 2),
        ("0-15", "0-15", 12),
        ("x", "0-15", 12),
    ],
)
def test_performance_cores_of_an_x86_hybrid(
    document: Make, performance: str | None, allowed: str, threads: int
) -> None:
    topology = [f"{cpu} {cpu // 2 if cpu < 8 else cpu} 0" for cpu in range(16)]
    whole = document(
        "n150-8gb",
        cpuinfo="\n".join(f"processor : {cpu}\nmodel name : 12th Gen Intel(R) Core(TM) i5" for cpu in range(16)),
        cpu_affinity=allowed,
        cpu_topology="\n".join(topology),
        performance_cpus=performance,
    )
    found = facts_parse.parse(whole).cpu
    assert (found.usable_cores, found.model) == (threads, "12th Gen Intel(R) Core(TM) i5")


@pytest.mark.parametrize(
    ("count", "threads"),
    [(24, 12), (12, 12), (11, 11), (5, 5), (2, 2), (1, 1)],
)
def test_processors_that_lxcfs_lists_limit_the_threads(document: Make, plan: Make, count: int, threads: int) -> None:
    """A limit on CPU time, 12 cores of two threads in the CPU set; 1 is what less than one CPU's time comes to."""
    whole = document(
        "n150-8gb",
        cpuinfo="\n".join(f"processor : {cpu}\nmodel name : AMD Ryzen 9\nflags : avx2" for cpu in range(count)),
        cpu_affinity="0-23",
        cpu_topology="\n".join(f"{cpu} {cpu % 12} 0" for cpu in range(24)),
    )
    found = facts_parse.parse(whole).cpu
    assert (found.usable_cores, found.processors) == (threads, count)
    assert plan(whole).knobs["threads"] == threads
    asked = plan(whole, threads=count + 1)
    assert not asked.fits and f"the host lets us use {count}" in " ".join(asked.missing)


def test_the_tightest_of_list_cpu_set_and_quota_counts(document: Make) -> None:
    six = "\n".join(f"processor : {cpu}" for cpu in range(6))
    for allowed, quota, threads in (("0-11", "max", 6), ("3,7,9", "max", 3), ("0-11", "200000", 2)):
        found = cpu_of(document, cpuinfo=six, cpu_affinity=allowed, cgroup=f"v2\ncpu /sys/fs/cgroup {quota} 100000")
        assert found.usable_cores == threads


def test_small_cores_that_lxcfs_numbers_anew_are_not_taken_for_others(document: Make) -> None:
    """The CPU set is 4-7; its cpuinfo begins with 0."""
    found = cpu_of(document, cpuinfo=listed(A76, A76, A76, A76), cpu_affinity="4-7")
    assert (found.usable_cores, found.model) == (4, "Cortex-A76")


def test_a_list_that_was_cut_limits_nothing(document: Make) -> None:
    cut = {"text": "processor : 0\nprocessor : 1", "truncated": True}
    assert cpu_of(document, cpuinfo=cut, cpu_affinity="0-99").usable_cores == 100
