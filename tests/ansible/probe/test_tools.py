"""Tools that are not in the folders that sudo and ssh look in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phi4_edge.core.layout import STANDARD
from phi4_edge.remote import framing
from tests.ansible.probe_run import NONCE, SCRIPT

CARD = "0, NVIDIA RTX A2000, 6138, 3, 581.42, 8.6, GPU-1"
ELSEWHERE = [
    "/usr/lib/wsl/lib",
    "/run/current-system/sw/bin",
    "/run/opengl-driver/bin",
    "/usr/local/nvidia/bin",
    "/opt/bin",
]


def tool(folder: Path, says: str) -> None:
    folder.mkdir(parents=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / "nvidia-smi").chmod(0o755)


def asked(place: str, instead: Path, path: str) -> dict[str, str]:
    """What the probe says of nvidia-smi on a host where `place` is what `instead` is here."""
    assert place in SCRIPT
    script = SCRIPT.replace(place, str(instead))
    line = framing.command(sys.executable, NONCE, script)
    sent = framing.stdin(script, {"root": "", "layout": STANDARD.to_dict()})
    done = subprocess.run(["/bin/sh", "-c", line], input=sent, capture_output=True, check=True, env={"PATH": path})
    answer: dict[str, str] = framing.parse(done.stdout.decode(), NONCE)["sources"]["nvidia_smi"]
    return answer


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_tool_outside_the_usual_folders_is_found(tmp_path: Path, place: str) -> None:
    tool(tmp_path / "there", CARD)
    assert asked(place, tmp_path / "there", "/usr/bin:/bin") == {"text": CARD}


def test_what_the_login_brings_comes_first(tmp_path: Path) -> None:
    tool(tmp_path / "there", CARD)
    tool(tmp_path / "first", "another")
    found = asked(ELSEWHERE[0], tmp_path / "there", f"{tmp_path / 'first'}:/usr/bin:/bin")
    assert found == {"text": "another"}
