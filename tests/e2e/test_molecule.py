"""The Molecule scenarios: converge, idempotence, damage and repair, verify, each on lab hosts of its own."""

from __future__ import annotations

import pytest
from e2e_support import Cli
from molecule_support import run_scenario

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", ["default", "docker", "ollama", "onnx", "nvidia_runtime"])
def test_scenario(ready: Cli, name: str) -> None:
    run_scenario(ready, name, 1200)
