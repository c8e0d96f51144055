"""Runs a Molecule scenario as its users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.gateway import ROOT, Cli


def run_scenario(ready: Cli, name: str, seconds: float, system: str = "") -> None:
    """`molecule test` of the scenario passes, within `seconds`, and has seen a second run that changes nothing.

    `system`: the operating system of its hosts, "" for Debian 13.
    """
    tools = Path(sys.executable).parent
    env = {**ready.env, "PATH": f"{tools}:{os.environ['PATH']}", "PHI4_EDGE_LAB_OS": system}
    done = subprocess.run(
        [tools / "molecule", "test", "--scenario-name", name],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = done.stdout + done.stderr
    failures = [line[:3000] for line in said.splitlines() if line.startswith(("fatal:", "[ERROR]", "ERROR!"))]
    # What failed comes last: the end is what a log keeps.
    assert done.returncode == 0, "\n".join([said[-6000:], *failures[-5:]])
    assert "idempotence" in (done.stdout + done.stderr).lower()
