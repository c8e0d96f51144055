"""The Molecule scenarios: converge, idempotence, damage and repair, verify, each on lab hosts of its own."""

from __future__ import annotations

import pytest

from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli
from tests.e2e.scenario import run_scenario

pytestmark = pytest.mark.e2e


SCENARIOS = ("default", "docker", "ollama", "onnx", "nvidia_runtime")
# What the other scenarios show, make test sees in the lifecycle, the fleet and the switch of engines.
SHORT = ("docker", "nvidia_runtime")


@pytest.mark.parametrize("name", rows(SCENARIOS, SHORT))
def test_scenario(ready: Cli, name: str) -> None:
    run_scenario(ready, name, 1200)
