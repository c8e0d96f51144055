"""Memory: what of MemTotal an engine can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]
KIB = 1024
TOTAL = "MemTotal: 16000000 kB\nMemAvailable: 5000000 kB\n"


@pytest.mark.parametrize(
    ("said", "aside"),
    [
        ("HugePages_Total: 0\nHugepagesize: 2048 kB\nHugetlb: 0 kB", 0),
        ("HugePages_Total: 4000\nHugepagesize: 2048 kB\nHugetlb: 8192000 kB", 8192000),
        # A kernel before 4.20, and one whose pages of 1 GiB are not of the size that is counted.
        ("HugePages_Total: 4000\nHugepagesize: 2048 kB", 8192000),
        ("HugePages_Total: 0\nHugepagesize: 2048 kB\nHugetlb: 8388608 kB", 8388608),
        ("HugePages_Total: 8\nHugepagesize: 1048576 kB\nHugetlb: 8388608 kB", 8388608),
        ("HugePages_Total: 1000\nHugepagesize: 2048 kB\nHugetlb: 10436608 kB", 10436608),
        # Arm with pages of 64 KiB.
        ("HugePages_Total: 10\nHugepagesize: 524288 kB", 5242880),
        # Surplus pages come and go; free ones of the pool do not.
        ("HugePages_Total: 4000\nHugePages_Surp: 1000\nHugepagesize: 2048 kB\nHugetlb: 8192000 kB", 6144000),
        ("HugePages_Total: 4000\nHugePages_Free: 4000\nHugepagesize: 2048 kB", 8192000),
        # Transparent ones are memory like any other.
        ("AnonHugePages: 9000000 kB\nShmemHugePages: 4096 kB\nHugePages_Total: 0\nHugepagesize: 2048 kB", 0),
    ],
)
def test_huge_pages_are_no_memory_for_an_engine(document: Make, said: str, aside: int) -> None:
    found = facts_parse.parse(document("n150-8gb", meminfo=TOTAL + said))
    assert found.huge_pages == aside * KIB
    assert (found.mem_total, found.ram_bytes) == (16000000 * KIB, (16000000 - aside) * KIB)


@pytest.mark.parametrize("count", [5500, 7813, 10**12])
def test_more_huge_pages_than_there_is_room_for_are_those_of_another_machine(document: Make, count: int) -> None:
    """A container's /proc/meminfo has its own MemTotal, and may have the machine's huge pages."""
    said = f"{TOTAL}HugePages_Total: {count}\nHugepagesize: 2048 kB"
    found = facts_parse.parse(document("n150-8gb", meminfo=said))
    assert (found.huge_pages, found.ram_bytes) == (0, 16000000 * KIB)
    assert [gap.kind for gap in found.gaps if gap.source == "meminfo"] == ["nonsense"]


def test_the_tighter_of_huge_pages_and_control_group_counts(document: Make, plan: Make) -> None:
    said = TOTAL + "HugePages_Total: 2000\nHugepagesize: 2048 kB"
    for limit, ram in ((8 << 30, 8 << 30), (15 << 30, 11904000 * KIB)):
        whole = document("n150-8gb", meminfo=said, cgroup=f"v2\nmemory /sys/fs/cgroup/a {limit}")
        assert facts_parse.parse(whole).ram_bytes == ram
        told = [reason for reason in plan(whole).reasons if "cgroup limits" in reason or "huge pages" in reason]
        assert len(told) == (2 if ram == limit else 1)
        assert "3.9 GiB of the machine's 15.3 GiB" in told[-1]


def test_huge_pages_choose_the_profile_and_not_what_is_available_now(document: Make, plan: Make) -> None:
    free, aside = "HugePages_Total: 0\nHugepagesize: 2048 kB", "HugePages_Total: 4000\nHugepagesize: 2048 kB"
    assert plan(document("n150-8gb", meminfo=TOTAL + free)).profile == "production_cpu"
    smaller = TOTAL.replace("16000000", "14000000")
    assert plan(document("n150-8gb", meminfo=smaller + free)).profile == "production_cpu"
    one, other = (
        plan(document("n150-8gb", meminfo=said + aside)) for said in (smaller, smaller.replace("5000000", "4800000"))
    )
    assert one.profile == other.profile == "edge_optimized"
    assert one.fingerprint == other.fingerprint and one.memory.available == (14000000 - 8192000) * KIB
