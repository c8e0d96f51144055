"""Hardware profiles: the data file, its validation, and the choice of one per host."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.errors import LabError
from phi4_edge.lab import profiles

MIB = 1024**2
KNOWN = profiles.load()
GOOD: dict[str, Any] = {"description": "x", "ram_mib": 2048, "cpus": 2}


@pytest.mark.parametrize(
    ("name", "nominal_gib"), [("pi4-4gb", 4), ("gateway-6gb", 6), ("gateway-8gb", 8), ("server-16gb", 16)]
)
def test_a_profile_has_the_ram_that_such_a_machine_reports(name: str, nominal_gib: int) -> None:
    # A kernel reports 90 % of the number on the box, or more, and never all of it.
    assert 0.90 * nominal_gib * 1024**3 <= KNOWN.get(name).ram_bytes < nominal_gib * 1024**3


def test_the_default_hosts_differ_in_ram() -> None:
    chosen = KNOWN.choose(hosts=3)
    assert [profile.name for profile in chosen] == ["gateway-6gb", "gateway-8gb", "server-16gb"]
    assert len({profile.ram_bytes for profile in chosen}) == 3


@pytest.mark.parametrize(
    ("names", "hosts", "expected"),
    [
        ((), None, ["gateway-6gb"]),
        ((), 4, ["gateway-6gb", "gateway-8gb", "server-16gb", "gateway-6gb"]),
        (("pi4-4gb", "pi4-4gb"), None, ["pi4-4gb", "pi4-4gb"]),
        (("pi4-4gb",), 2, ["pi4-4gb", "pi4-4gb"]),
        (("pi4-4gb", "server-16gb"), 1, ["pi4-4gb"]),
    ],
)
def test_profiles_are_cycled_or_cut_to_the_number_of_hosts(
    names: tuple[str, ...], hosts: int | None, expected: list[str]
) -> None:
    assert [profile.name for profile in KNOWN.choose(names, hosts)] == expected


def test_an_unknown_profile_gets_the_nearest_name() -> None:
    with pytest.raises(LabError, match=r"did you mean pi4-4gb\?"):
        KNOWN.choose(["pi4-4bg"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ram": 1}, r"unknown fields \['ram'\]"),
        ({"cpus": None}, "cpus is None"),
        ({"cpus": 0}, "cpus is 0"),
        ({"ram_mib": "2g"}, "ram_mib is '2g'"),
        ({"disks": {"var": "2g"}}, "disk var"),
        ({"disks": {"/var": "2 GB"}}, "size like 2g"),
        ({"disks": {"/var": "2g,uid=0"}}, "size like 2g"),
    ],
)
def test_a_malformed_profile_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        profiles.parse("p", {**GOOD, **change})


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(LabError, match=r"missing fields \['cpus', 'ram_mib'\]"):
        profiles.parse("p", {"description": "x"})


def test_a_good_profile_is_read_in_bytes() -> None:
    expected = profiles.Profile("p", "x", 2048 * MIB, 2, {"/opt": "512m"})
    assert profiles.parse("p", {**GOOD, "disks": {"/opt": "512m"}}) == expected
