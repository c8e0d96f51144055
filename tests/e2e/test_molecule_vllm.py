"""The Molecule scenario of the real vLLM: in a file of its own, for it takes as long as all others together."""

from __future__ import annotations

import pytest

from tests.e2e.gateway import Cli
from tests.e2e.scenario import run_scenario

pytestmark = [pytest.mark.e2e, pytest.mark.heavy, pytest.mark.full]


def test_scenario(ready: Cli) -> None:
    run_scenario(ready, "vllm", 2400)
