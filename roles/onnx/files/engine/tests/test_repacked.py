"""Weights that the runtime has packed, out of a file: the same scores, and never others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from client import SOURCE, healthy, python

from phi4_engine import modeldir, repacked, settings
from phi4_engine.modeldir import ModelFiles

PROMPT = np.arange(7, 47, dtype=np.int32)
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def files(model_dir: Path) -> ModelFiles:
    return modeldir.inspect(model_dir)


@pytest.fixture(scope="module")
def made(files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model's."""
    folder = tmp_path_factory.mktemp("repacked")
    assert repacked.make(files, folder, 1).parent == folder
    return folder


def chosen(folder: Path | None) -> settings.Settings:
    found = settings.load({"PHI4_MODEL_DIR": "/models/x", "PHI4_CONTEXT_LENGTH": "256", "PHI4_THREADS": "1"})
    return replace(found, repacked=folder)


def scores(files: ModelFiles, folder: Path | None) -> Any:
    return np.array(repacked.session(files, chosen(folder)).read(0, 0, PROMPT))


def used(caplog: pytest.LogCaptureFixture) -> bool:
    return not [one for one in caplog.records if "is not used" in one.getMessage()]


def test_scores_are_the_same_bit_for_bit(files: ModelFiles, made: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert np.array_equal(scores(files, made), scores(files, None))
    assert used(caplog) and repacked.found(made, files) is not None


def test_an_engine_answers_out_of_them(model_dir: Path, files: ModelFiles, made: Path) -> None:
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_MODEL_NAME": "tiny", "PHI4_CONTEXT_LENGTH": "512"}
    with healthy(environ) as plain:
        wanted = plain.chat("What is the capital of France?", temperature=0, max_tokens=24).json()
    with healthy({**environ, "PHI4_REPACKED": str(made)}) as engine:
        answer = engine.chat("What is the capital of France?", temperature=0, max_tokens=24).json()
        mapped = Path(f"/proc/{engine.worker_pid()}/maps").read_text()
        assert "not used" not in engine.log
    assert answer["choices"][0]["message"] == wanted["choices"][0]["message"]
    assert f"{repacked.place(made, files)}/{repacked.WEIGHTS}" in mapped
    assert "model.onnx.data" not in mapped


def flipped(there: Path) -> None:
    data = np.fromfile(there / repacked.WEIGHTS, np.uint8)
    (data ^ np.uint8(0x55)).tofile(there / repacked.WEIGHTS)


def of_another_model(there: Path) -> None:
    note = json.loads((there / repacked.NOTE).read_text())
    note["scores"] = [score + 1 for score in note["scores"]]
    (there / repacked.NOTE).write_text(json.dumps(note))


def no_graph(there: Path) -> None:
    size = (there / repacked.GRAPH).stat().st_size
    (there / repacked.GRAPH).write_bytes(b"\xff" * size)


@pytest.mark.parametrize("damage", [flipped, of_another_model, no_graph])
def test_what_is_not_right_is_told_and_the_model_taken(
    files: ModelFiles, made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    damage(repacked.place(folder, files))
    assert np.array_equal(scores(files, folder), scores(files, None))
    assert not used(caplog)


@pytest.mark.parametrize(
    "damage",
    [
        lambda there: (there / repacked.NOTE).unlink(),
        lambda there: (there / repacked.NOTE).write_text("[]"),
        lambda there: (there / repacked.NOTE).write_text('{"format": "phi4-edge/repacked/1"}'),
        lambda there: os.truncate(there / repacked.WEIGHTS, 1000),
        lambda there: there.rename(there.with_name(there.name + "x")),  # another version, or CPU
    ],
)
def test_what_is_not_whole_is_not_there_and_made_anew(
    files: ModelFiles, made: Path, tmp_path: Path, damage: Damage
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    damage(repacked.place(folder, files))
    assert repacked.found(folder, files) is None
    there = repacked.make(files, folder, 1)
    assert repacked.found(folder, files) == there / repacked.GRAPH
    assert [path.name for path in folder.iterdir()] == [there.name]  # nothing of the old one is left


def test_killed_half_way_leaves_nothing_that_is_used(model_dir: Path, files: ModelFiles, tmp_path: Path) -> None:
    command = [*python("-m", "phi4_engine.repacked"), str(model_dir), str(tmp_path), "1"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
    while not any(tmp_path.glob(".*.new/*")):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert repacked.found(tmp_path, files) is None
    done = subprocess.run(command, env=environ, capture_output=True, check=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["path"] == repacked.place(tmp_path, files).name
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / told["path"]).iterdir())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_is_known_by_its_digest_or_by_its_files(files: ModelFiles, tmp_path: Path) -> None:
    assert re.fullmatch(
        rf"{files.directory.resolve().name[:32]}-[0-9a-f]{{16}}-[0-9.]+", repacked.place(tmp_path, files).name
    )
    other = tmp_path / "model"
    shutil.copytree(files.directory, other)
    before = repacked.place(tmp_path, modeldir.inspect(other)).name
    os.utime(other / "model.onnx.data", ns=(1, 1))
    assert repacked.place(tmp_path, modeldir.inspect(other)).name != before


def test_the_setting_is_an_absolute_path() -> None:
    with pytest.raises(settings.ConfigurationError, match="must be an absolute path"):
        settings.load({"PHI4_MODEL_DIR": "/models/x", "PHI4_REPACKED": "here"})


@pytest.mark.parametrize(
    ("memory", "disk", "why"),
    [
        (100 << 20, 1 << 40, "found 104857600 bytes of memory available, needed "),
        (1 << 40, 200 << 20, "found 209715200 bytes of disk free at "),
    ],
)
def test_without_room_it_is_told_and_nothing_is_written(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    memory: int, disk: int, why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(repacked, "memory_available", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=disk))
    assert repacked.main(str(model_dir), str(tmp_path), "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["bytes"]) == ("", 0) and told["reason"].startswith(why)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_needs_no_room(
    model_dir: Path, made: Path, files: ModelFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repacked, "memory_available", lambda: 0)
    assert repacked.main(str(model_dir), str(made), "1") == 0
    assert json.loads(capsys.readouterr().out)["path"] == repacked.place(made, files).name


def test_the_memory_is_what_the_kernel_says() -> None:
    assert 0 < repacked.memory_available() < 1 << 50
