"""The Molecule scenario of the ONNX roles: converge, idempotence, damage and repair, verify, on a lab host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_support import ROOT, Cli

pytestmark = pytest.mark.e2e


def test_default_scenario(ready: Cli) -> None:
    tools = Path(sys.executable).parent
    env = {**ready.env, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        [tools / "molecule", "test", "--scenario-name", "default"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert (
        "Idempotence completed successfully" in done.stdout + done.stderr or "idempotence" in done.stdout + done.stderr
    )
