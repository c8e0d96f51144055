"""What the programs of a host are made for, which its kernel does not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("host", "userland", "named"),
    [
        ("pi4-4gb", "32 40", "found a 32-bit system (armhf) under a 64-bit kernel (aarch64)"),
        ("jetson-orin-nano-8gb", "32 40", "found a 32-bit system (armhf) under a 64-bit kernel (aarch64)"),
        ("n150-8gb", "32 3", "found a 32-bit system (i386) under a 64-bit kernel (x86_64)"),
        ("workstation-rtx4090-driver580", "32 3", "found a 32-bit system (i386) under a 64-bit kernel (x86_64)"),
        ("n150-8gb", "32 62", "found a 32-bit system (x32) under a 64-bit kernel (x86_64)"),
        ("pi4-4gb", "32 183", "found a 32-bit system (arm64ilp32) under a 64-bit kernel (aarch64)"),
        # Only its pointers are known, or a machine without a name here.
        ("n150-8gb", "32", "found a 32-bit system under a 64-bit kernel (x86_64)"),
        ("n150-8gb", "32 8", "found a 32-bit system under a 64-bit kernel (x86_64)"),
    ],
)
def test_nothing_fits_a_32_bit_system_whatever_its_kernel_is(
    document: Make, plan: Make, host: str, userland: str, named: str
) -> None:
    whole = document(host, userland=userland)
    for wishes in (
        {},
        {"engine": "ollama"},
        {"engine": "onnx", "service_manager": "compose"},
        {"profile": "development"},
    ):
        for force in (False, True):
            made = plan(whole, force=force, **wishes)
            assert not made.fits and not made.steps
            assert any(named in reason for reason in made.missing), made.missing
            assert "needed a 64-bit system" in " ".join(made.missing)


def test_a_kernel_that_calls_itself_32_bit_is_refused_for_that(document: Make, plan: Make) -> None:
    """Under `linux32` uname says armv8l or i686."""
    for host, machine, userland in (("pi4-4gb", "armv8l", "32 40"), ("n150-8gb", "i686", "32 3")):
        made = plan(document(host, uname=f"Linux 6.12 {machine}", userland=userland))
        assert not made.fits and f"architecture {machine}" in " ".join(made.missing)


@pytest.mark.parametrize("userland", [None, "64 62", "64", "64 183", {"gap": "failed", "detail": ""}, "", "x", "16 3"])
def test_a_64_bit_system_and_an_older_document_give_the_plan_as_before(
    document: Make, named: Make, userland: Any
) -> None:
    plain = named(document("n150-8gb"))
    made = named(document("n150-8gb", userland=userland))
    assert made.fits and (made.release, made.warnings) == (plain.release, plain.warnings)


def test_only_nonsense_is_a_gap(document: Make) -> None:
    def gaps(userland: Any) -> list[str]:
        found = facts_parse.parse(document("n150-8gb", userland=userland))
        return [gap.kind for gap in found.gaps if gap.source == "userland"]

    assert gaps(None) == gaps("64 62") == gaps("32 3") == gaps({"gap": "missing", "detail": "x"}) == []
    assert gaps("x86") == gaps("16 3") == ["nonsense"]
    assert facts_parse.parse(document("n150-8gb", userland="64 62")).userland.name == "amd64"
