"""What a host's facts and its service's answer add up to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core.facts.parse import HostFacts, parse
from phi4_edge.core.facts.receipt import CommittedImage, Container, Drift, Receipt
from phi4_edge.core.facts.status import Health, State, classify
from phi4_edge.core.facts.units import STANDING, ModelState, Service
from phi4_edge.data import schema
from phi4_edge.operations.status import status_code, status_document
from phi4_edge.rollout.result import HostResult, Outcome

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hosts"
RECEIPT = Receipt(present=True, release="r-1", engine="onnx", bind="127.0.0.1", port=8080, file_count=9)
COMPOSED = dataclasses.replace(
    RECEIPT,
    service_manager="compose",
    image=CommittedImage("vllm:1/amd64", "sha256:manifest", "sha256:one"),
    containers=(Container("engine", "sha256:one", "running"),),
)
UP = Service("loaded", "active", "running", "enabled", 0, 7)
STARTING = dataclasses.replace(UP, active="activating", sub="start")
LOADER = dataclasses.replace(UP, loader=STANDING, model=ModelState("loaded"))
LOADER_LOADING = dataclasses.replace(LOADER, model=ModelState("loading", "HTTP 500: no memory"))
STARTING_CONTAINER = dataclasses.replace(
    COMPOSED, containers=(Container("engine", "sha256:one", "running", health="starting"),)
)
HEALTHY = Health("healthy", "r-1")


@pytest.fixture
def facts() -> HostFacts:
    return parse(json.loads((FIXTURES / "n150-8gb.json").read_text()))


@pytest.mark.parametrize(
    ("receipt", "service", "health", "state", "detail"),
    [
        (RECEIPT, UP, HEALTHY, State.SERVING, ""),
        (RECEIPT, UP, Health("loading"), State.LOADING, "its model is being loaded"),
        (RECEIPT, UP, Health("unhealthy"), State.UNHEALTHY, "the engine says unhealthy"),
        (RECEIPT, STARTING, Health(), State.LOADING, "the service starts, and is ready once its model is loaded"),
        (
            RECEIPT,
            dataclasses.replace(STARTING, sub="auto-restart"),
            Health(),
            State.STOPPED,
            "the service is activating and enabled, needed active and enabled",
        ),
        (RECEIPT, LOADER, HEALTHY, State.SERVING, ""),
        # Ollama lists a model whose process is gone.
        (RECEIPT, LOADER_LOADING, HEALTHY, State.LOADING, "its model is not loaded: HTTP 500: no memory"),
        (RECEIPT, LOADER, Health("loading"), State.LOADING, "its model is being loaded"),
        (RECEIPT, LOADER_LOADING, Health(problem="no answer"), State.UNHEALTHY, "no answer"),
        (
            RECEIPT,
            dataclasses.replace(UP, loader="failed, enabled"),
            HEALTHY,
            State.STOPPED,
            "the service is active and enabled, its loader failed and enabled, needed active and enabled",
        ),
        (STARTING_CONTAINER, UP, Health(problem="no answer"), State.LOADING, "its model is being loaded"),
        (STARTING_CONTAINER, UP, HEALTHY, State.SERVING, ""),
        (RECEIPT, UP, Health(problem="no answer"), State.UNHEALTHY, "no answer"),
        (RECEIPT, UP, Health("healthy", "r-0"), State.DRIFTED, "release r-0 is running, the receipt says r-1"),
        (
            dataclasses.replace(RECEIPT, drift=(Drift("/etc/x", "changed"),)),
            UP,
            HEALTHY,
            State.DRIFTED,
            "1 of 9 managed files are not as committed",
        ),
        (
            RECEIPT,
            dataclasses.replace(UP, active="failed"),
            Health(),
            State.STOPPED,
            "the service is failed and enabled, needed active and enabled",
        ),
        (RECEIPT, dataclasses.replace(UP, socket="active, enabled"), HEALTHY, State.SERVING, ""),
        (
            RECEIPT,
            dataclasses.replace(UP, socket="failed, enabled"),
            HEALTHY,
            State.STOPPED,
            "the service is active and enabled, its socket failed and enabled, needed active and enabled",
        ),
        (RECEIPT, None, Health(), State.STOPPED, "the service is unknown to systemd, needed active and enabled"),
        (COMPOSED, UP, HEALTHY, State.SERVING, ""),
        (dataclasses.replace(COMPOSED, containers=()), UP, Health(), State.STOPPED, "no container runs as engine"),
        (
            dataclasses.replace(COMPOSED, containers=(Container("engine", "sha256:other", "running"),)),
            UP,
            HEALTHY,
            State.DRIFTED,
            "another image than was committed runs as engine",
        ),
        (dataclasses.replace(COMPOSED, containers=None), UP, HEALTHY, State.SERVING, ""),
        (Receipt(present=True, error="not JSON"), None, Health(), State.UNREADABLE, "not JSON"),
        (Receipt(present=False), None, Health(), State.ABSENT, "nothing was provisioned here"),
    ],
)
def test_state(
    facts: HostFacts, receipt: Receipt, service: Service | None, health: Health, state: State, detail: str
) -> None:
    found = classify(dataclasses.replace(facts, receipt=receipt, service=service), health)
    assert (found.state, found.detail) == (state, detail)
    assert bool(found.next_step) == (state is not State.SERVING)


@pytest.mark.parametrize(
    ("orphans", "service", "health", "named"),
    [
        ((("127.0.0.1", 8080),), dataclasses.replace(UP, active="activating"), Health(), True),
        ((("0.0.0.0", 8080),), None, Health(), True),
        ((("127.0.0.1", 8080),), UP, Health(problem="no answer on port 8080"), True),
        ((("127.0.0.1", 8080),), UP, HEALTHY, False),
        ((("127.0.0.1", 9090),), None, Health(), False),
        ((), None, Health(), False),
    ],
)
def test_a_port_that_docker_holds_for_nobody_is_named_with_the_way_out(
    facts: HostFacts, orphans: tuple[tuple[str, int], ...], service: Service | None, health: Health, named: bool
) -> None:
    seen = dataclasses.replace(facts, receipt=COMPOSED, service=service, orphaned_ports=orphans)
    found = classify(seen, health)
    assert ("Docker holds" in found.detail) is named
    if named:
        assert found.detail.startswith(f"Docker holds {orphans[0][0]}:8080 for no container")
        assert "sudo systemctl restart docker" in found.next_step


@pytest.mark.parametrize(
    ("receipt", "service", "state"),
    [
        (RECEIPT, UP, State.SERVING),
        (RECEIPT, LOADER_LOADING, State.LOADING),
        (STARTING_CONTAINER, UP, State.LOADING),
        (RECEIPT, STARTING, State.LOADING),
        (RECEIPT, None, State.STOPPED),
        (dataclasses.replace(RECEIPT, drift=(Drift("/etc/x", "owner"),)), UP, State.DRIFTED),
    ],
)
def test_a_service_that_nobody_asked_is_what_its_host_says(
    facts: HostFacts, receipt: Receipt, service: Service | None, state: State
) -> None:
    found = classify(dataclasses.replace(facts, receipt=receipt, service=service), None)
    assert (found.state, found.health) == (state, "")


def test_the_exit_code_and_the_document(facts: HostFacts) -> None:
    good = classify(dataclasses.replace(facts, receipt=RECEIPT, service=UP), HEALTHY)
    bad = classify(dataclasses.replace(facts, receipt=RECEIPT, service=None), Health())
    lost = HostResult("gw9", Outcome.UNREACHABLE, "down")
    assert status_code([good], []) == 0
    assert status_code([good, bad], []) == 2
    assert status_code([good, bad], [lost]) == 5
    registry = Registry().with_resource("result.schema.json", Resource.from_contents(schema("result")))
    document = json.loads(json.dumps(status_document([good, bad], [lost])))
    jsonschema.Draft202012Validator(schema("status"), registry=registry).validate(document)
