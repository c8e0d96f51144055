"""What systemd says of our units, in old and new forms and in nonsense, and what was ended is told in sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import Container, Receipt
from phi4_edge.core.facts.status import endings, memory_kills
from phi4_edge.core.facts.units import STANDING, ModelState, Service, model_state
from phi4_edge.core.layout import LOAD_UNIT, SOCKET_UNIT, UNIT

Make = Callable[..., Any]
HOST = "n150-8gb"
LINE = "loaded; runner killed 3 times, 1 for want of memory, last 2026-11-29T00:00:01Z"
UP = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts={}\nMainPID=7"
# What systemd prints first of a service is what a socket has not.
MAIN = "StatusText=\nId=phi4-edge.service\n" + UP.format(2) + "\nActiveEnterTimestampMonotonic=5000000"
SOCKET = "Id=phi4-edge.socket\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState="
LOADER = f"StatusText={LINE}\nId=phi4-edge-load.service\n{UP.format(0)}"
WHOLE = "\n\n".join((MAIN, SOCKET, LOADER))


def parsed(document: Make, **sources: str) -> HostFacts:
    return parse.parse(document(HOST, **sources))


def service(document: Make, **sources: str) -> Service:
    found = parsed(document, **sources).service
    assert found is not None
    return found


def test_three_units_in_any_order_are_told_apart(document: Make) -> None:
    for units in ((MAIN, SOCKET, LOADER), (LOADER, MAIN, SOCKET), (SOCKET, LOADER, MAIN)):
        found = service(document, service="\n\n".join(units), clock="1000 65000000", memory_kills="4\n")
        assert (found.restarts, found.socket, found.loader, found.up) == (2, "", STANDING, True)
        assert (found.since, found.memory_kills) == ("1970-01-01T00:15:40Z", 4)
        assert found.model == ModelState("loaded", "", 3, 1, "2026-11-29T00:00:01Z")


def test_an_older_probe_named_no_unit(document: Make) -> None:
    found = service(document, service=UP.format(1) + "\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled")
    assert (found.restarts, found.socket, found.loader, found.model) == (1, STANDING, "", ModelState())
    assert (found.since, found.memory_kills) == ("", 0)


@pytest.mark.parametrize(
    "clock", ["", "1000", "1000 4999999", "x 65000000", "1000 -1", "99999999999999 65000000", "1 2 3"]
)
def test_a_moment_that_cannot_be_known_is_none(document: Make, clock: str) -> None:
    assert service(document, service=WHOLE, clock=clock).since == ""


@pytest.mark.parametrize(
    ("sign", "standing", "up"),
    [
        ("active", "active, enabled", True),
        ("failed", "failed, enabled", False),
        ("inactive", "inactive, enabled", False),
    ],
)
def test_a_service_whose_model_nothing_loads_again_is_not_up(
    document: Make, sign: str, standing: str, up: bool
) -> None:
    found = service(
        document, service=WHOLE.replace(LOADER, LOADER.replace("ActiveState=active", f"ActiveState={sign}"))
    )
    assert (found.loader, found.up) == (standing, up)
    # What it said before it ended is nothing that holds now.
    assert bool(found.model.state) is up


@pytest.mark.parametrize(
    "line",
    [
        None,
        "",
        "ready",
        LINE.replace("3", "-3"),
        LINE.replace("3", "9" * 10),
        LINE.replace("loaded", "owned"),
        LINE.replace("2026-11-29T00:00:01Z", "yesterday"),
        LINE + " and more",
        "x" * 100_000,
    ],
)
def test_a_line_that_is_none_of_ours_says_nothing(line: object) -> None:
    assert model_state(line) == ModelState()


def test_what_was_ended_is_told_with_how_often_and_when(document: Make) -> None:
    found = parsed(document, service=WHOLE, clock="1000 65000000", memory_kills="0")
    assert [ending.text for ending in endings(found)] == [
        "the service was restarted 2 times, last at 1970-01-01T00:15:40Z",
        "the model's process was killed 3 times, once for lack of memory, last at 2026-11-29T00:00:01Z",
    ]
    quiet = WHOLE.replace("NRestarts=2", "NRestarts=0").replace("killed 3 times, 1 for", "killed 0 times, 0 for")
    assert endings(parsed(document, service=quiet, clock="1000 65000000")) == ()
    assert [ending.text for ending in endings(parsed(document, service=quiet, memory_kills="1"))] == [
        "the kernel has killed a process of the service once for lack of memory"
    ]
    assert endings(dataclasses.replace(found, service=None)) == ()


def test_a_containers_count_is_one_too(document: Make) -> None:
    found = parsed(document, service=WHOLE, memory_kills="0")
    inside = (Container("engine", "sha256:1", "running", "healthy", 7), Container("webui", "", "running", "", 9))
    assert memory_kills(dataclasses.replace(found, receipt=Receipt(present=True, containers=inside))) == 7
    assert memory_kills(dataclasses.replace(found, receipt=Receipt(present=True, containers=None))) == 1


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    ("load", "active", "stands"),
    [("loaded", "inactive", "inactive"), ("loaded", "active", "active"), ("masked", "inactive", "masked"),
     ("not-found", "inactive", "missing")],
)  # fmt: skip
def test_dockers_unit_is_found_wherever_systemd_names_it(
    document: Make, number: int, load: str, active: str, stands: str
) -> None:
    ours = [f"Id={name}\nLoadState=not-found\nActiveState=inactive" for name in (UNIT, SOCKET_UNIT, LOAD_UNIT)]
    ours.insert(number, f"Id=docker.service\nLoadState={load}\nActiveState={active}")
    found = parse.parse(document("n150-8gb", service="\n\n".join(ours)))
    assert found.system.docker_unit == stands
    assert found.service is not None and found.service.load == "not-found"
