"""Prometheus and its promtool, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# `make test` unpacks the distribution's package there.
_BELOW = str(Path(__file__).parents[4] / "build" / "prometheus" / "usr" / "bin")
PROMETHEUS, PROMTOOL = (shutil.which(name) or shutil.which(name, path=_BELOW) for name in ("prometheus", "promtool"))
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="needs prometheus and promtool (Debian's package prometheus)"
)


def promtool(*words: str | Path) -> str:
    """What promtool says of files that it accepts."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env={},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
