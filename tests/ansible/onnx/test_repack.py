"""Weights are repacked where the host has the room, else it is said what is missing; nothing fails for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import engine, hostlib

ENDS_WELL = """
import json, pathlib, sys
model, folder, threads = sys.argv[4:]
there = pathlib.Path(folder) / "a-b-1"
there.mkdir(exist_ok=True)
(there / "weights.bin").write_bytes(b"x" * 100)
print("a line of a library")
print(json.dumps({"path": there.name, "bytes": 100, "reason": ""}))
"""


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx.data").write_bytes(b"w" * 1000)
    (tmp_path / "engine" / "bin").mkdir(parents=True)
    return {
        "engine": str(tmp_path / "engine"),
        "model": str(model),
        "repacked": str(tmp_path / "repacked"),
        "threads": 2,
    }


def program(tmp_path: Path, text: str) -> None:
    """What stands for the engine's Python: its arguments are those of the real one."""
    path = tmp_path / "engine" / "bin" / "python"
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}")
    path.chmod(0o755)


def test_it_is_made_once(asked: dict[str, Any], tmp_path: Path) -> None:
    program(tmp_path, ENDS_WELL)
    assert engine.repack(asked, b"") == {"changed": True, "bytes": 100, "reason": ""}
    assert engine.repack(asked, b"") == {"changed": False, "bytes": 100, "reason": ""}
    assert (tmp_path / "repacked").stat().st_mode & 0o777 == 0o755


def test_without_room_it_is_told(asked: dict[str, Any], tmp_path: Path) -> None:
    told = {"path": "", "bytes": 0, "reason": "found 1 bytes of memory available, needed 2"}
    program(tmp_path, f"print({json.dumps(told)!r})")
    assert engine.repack(asked, b"") == {"changed": False, "bytes": 0, "reason": told["reason"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sys.exit('the model computes scores that are not finite')", "exit status 1: the model computes scores"),
        ("print('[]')", "it ended with"),
        ("print(" + repr(json.dumps({"path": "a"})) + ")", "it ended with"),
        ("", "it ended with ''"),
    ],
)
def test_one_that_fails_or_says_nonsense_is_named(asked: dict[str, Any], tmp_path: Path, text: str, why: str) -> None:
    program(tmp_path, text)
    with pytest.raises(hostlib.HostError, match=why):
        engine.repack(asked, b"")
