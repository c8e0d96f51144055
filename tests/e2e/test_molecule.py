"""The Molecule scenarios: converge, idempotence, damage and repair, verify, each on lab hosts of its own."""

from __future__ import annotations

import pytest

from tests.e2e.gateway import Cli
from tests.e2e.scenario import run_scenario

# What they show, make test sees in the lifecycle, the fleet, the switch of engines and on a fake GPU.
pytestmark = [pytest.mark.e2e, pytest.mark.full]

SCENARIOS = ("default", "docker", "ollama", "onnx", "nvidia_runtime")
# What else is tried on an older system: what installs Docker there, and each engine where it has its Python. Not the
# NVIDIA runtime: Debian 12's Docker, which is in the stand-in for its vendor's package too, knows no CDI devices.
OLDER = (
    *(("docker", "debian-12"), ("default", "debian-12"), ("onnx", "debian-12"), ("ollama", "debian-12")),
    ("ollama", "debian-11"),
)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(ready: Cli, name: str) -> None:
    run_scenario(ready, name, 1200)


@pytest.mark.parametrize(("name", "system"), OLDER)
def test_scenario_on_an_older_system(ready: Cli, name: str, system: str) -> None:
    run_scenario(ready, name, 1200, system)
