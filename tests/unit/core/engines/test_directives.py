"""What older systemds make of our units, by what three real ones say that they know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.engines import directives

Make = Callable[..., Any]
TESTS = Path(__file__).parents[3]
GOLDEN, FIXTURES = TESTS / "golden", TESTS / "fixtures" / "systemd"
# Of Debian 11, 12 and 13: the sections Unit, Service and Socket of `systemd --dump-configuration-items`.
VERSIONS = (247, 252, 257)


def units() -> Iterator[Path]:
    yield from GOLDEN.rglob("*.service")
    yield from GOLDEN.rglob("*.socket")


def used(text: str) -> Iterator[str]:
    """Each directive as Section.Name; what is for `systemctl enable` alone is in no dump."""
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#") and section != "Install":
            yield f"{section}.{line.partition('=')[0]}"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_has_all_that_a_systemd_does_not_know(version: int) -> None:
    known = set((FIXTURES / f"{version}.txt").read_text().split())
    paths = list(units())
    assert len(paths) > 50
    for path in paths:
        text = path.read_text()
        unknown = {name.partition(".")[2] for name in used(text) if name not in known}
        told = {part.partition(" ")[0] for part in directives.ignored([text], str(version)).split(", ") if part}
        assert told == unknown, path


@pytest.mark.parametrize("version", ["", "unknown", "257 (257.7-1)", "260~rc1"])
def test_a_new_or_unknown_systemd_ignores_nothing(version: str) -> None:
    assert directives.ignored([path.read_text() for path in units()], version) == ""
    assert directives.too_old(version) == ""


@pytest.mark.parametrize(
    ("version", "engines", "umask", "said"),
    [
        ("systemd 219", 0, None, "systemd 219, needs 245 or newer"),
        ("systemd 239 (239-82.el8)", 0, None, "systemd 239, needs 245 or newer"),
        ("systemd 244 (244.3-1~bpo10+1)", 0, None, "systemd 244, needs 245 or newer"),
        ("systemd 245 (245.4-4ubuntu3.24)", 1, "0022", "ProtectProc (247)"),
        ("systemd 247 (247.3-7+deb11u8)", 1, "0022", "SocketBindDeny (249)"),
        ("systemd 249 (249.11-0ubuntu3.16)", 1, "0022", "RestartSteps (254)"),
        ("systemd 250 (250-12.el9)", 1, None, "RestartSteps (254)"),
        ("systemd 257 (257.7-1)", 1, None, ""),
    ],
)
@pytest.mark.parametrize("engine", ["onnx", "ollama"])
def test_the_plan_knows_the_systemd_of_its_host(
    document: Make, plan: Make, engine: str, version: str, engines: int, umask: str | None, said: str
) -> None:
    made = plan(document("n150-8gb", systemd=version), engine=engine)
    assert made.fits is bool(engines)
    assert (made.knobs or {}).get("umask") == umask
    told = " ".join([*made.warnings, *made.missing, *made.reasons, *(str(row) for row in made.rejected)])
    assert said in told
    assert ("ignores" in told) is bool(said and engines)


@pytest.mark.parametrize("version", ["systemd 219", "systemd 244"])
def test_containers_are_units_too(document: Make, plan: Make, version: str) -> None:
    made = plan(document("n150-8gb", systemd=version), engine="ollama", service_manager="compose")
    assert not made.fits
    assert "needs 245 or newer" in str(made.rejected) + str(made.missing) + str(made.reasons)


def test_containers_need_no_other_umask(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb", systemd="systemd 247"), engine="ollama", service_manager="compose")
    assert made.fits and "umask" not in made.knobs
