"""The command as another version of phi4-edge: a copy of this one, in which a test changes something."""

from __future__ import annotations

import shutil
from pathlib import Path

from phi4_edge import content
from tests.e2e.gateway import ROOT


def copied(folder: Path) -> dict[str, str]:
    """Environment in which the command is the copy that is made in `folder`."""
    for part in ("cli", *content.PARTS):
        # Links in cli to the parts of the collection stay links.
        shutil.copytree(ROOT / part, folder / part, True, shutil.ignore_patterns("__pycache__"))
    return {"PYTHONPATH": str(folder / "cli")}
