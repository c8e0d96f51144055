"""What a PCI device id says about a GPU that has no driver."""

from __future__ import annotations

import pytest

from phi4_edge.core.facts.model import Display
from phi4_edge.core.packages.generations import cards, generation


@pytest.mark.parametrize(
    ("device", "name", "capability", "open_only"),
    [
        ("06d9", "Kepler or older", (3, 0), False),  # GTX 465, a Fermi
        ("128b", "Kepler or older", (3, 0), False),  # GT 710
        ("102d", "Kepler or older", (3, 0), False),  # Tesla K80
        ("1380", "Maxwell", (5, 0), False),  # GTX 750 Ti
        ("17c8", "Maxwell", (5, 0), False),  # GTX 980 Ti
        ("15f8", "Pascal", (6, 0), False),  # Tesla P100
        ("1c03", "Pascal", (6, 1), False),  # GTX 1060
        ("1d81", "Volta", (7, 0), False),  # TITAN V
        ("1eb8", "Turing", (7, 5), False),  # Tesla T4
        ("2187", "Turing", (7, 5), False),  # GTX 1650 SUPER
        ("20b5", "Ampere", (8, 0), False),  # A100
        ("2504", "Ampere", (8, 6), False),  # RTX 3060
        ("2331", "Hopper", (9, 0), False),  # H100
        ("2342", "Grace Hopper", (9, 0), True),  # GH200
        ("27b8", "Ada", (8, 9), False),  # L4
        ("2901", "Blackwell", (10, 0), True),  # B200
        ("2b85", "Blackwell", (12, 0), True),  # RTX 5090
        ("2d04", "Blackwell", (12, 0), True),  # RTX 5060 Ti
        ("2f04", "Blackwell", (12, 0), True),  # RTX 5070
        ("3182", "Blackwell or newer", (10, 3), True),  # B300
    ],
)
def test_a_device_id_says_the_generation(device: str, name: str, capability: tuple[int, int], open_only: bool) -> None:
    found = generation(device)
    assert found is not None
    assert (found.name, found.capability, found.open_only) == (name, capability, open_only)


@pytest.mark.parametrize("device", ["0000", "1900", "2650"])
def test_nothing_is_concluded_from_an_id_that_nobody_knows(device: str) -> None:
    assert generation(device) is None


@pytest.mark.parametrize(
    ("device", "version", "driven"),
    [("1c03", 580, True), ("1c03", 590, False), ("128b", 470, True), ("128b", 535, False), ("2b85", 550, False),
     ("2b85", 570, True), ("2504", 595, True)],
)  # fmt: skip
def test_a_branch_of_the_driver_knows_some_generations(device: str, version: int, driven: bool) -> None:
    found = generation(device)
    assert found is not None and found.driven_by(version) is driven


def test_only_nvidias_cards_count() -> None:
    found = cards([Display("0000:00:02.0", "8086", "46d4"), Display("0000:01:00.0", "10de", "2b85")])
    assert [card for card, _ in found] == ["10de:2b85"]
