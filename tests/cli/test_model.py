"""`phi4-edge model` as a user meets it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge.artifacts.store.store import Store
from phi4_edge.main import cli
from tests.unit.artifacts.sample import put

Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    return Store()


@pytest.fixture
def run(store: Store) -> Run:
    return lambda *arguments: CliRunner().invoke(cli, ["model", *arguments])


def test_an_empty_store_says_so(run: Run, store: Store) -> None:
    listed = run("list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert f"nothing in {store.root} yet" in listed.stderr
    assert json.loads(run("list", "--output", "json").stdout) == {"store": str(store.root), "artifacts": []}
    assert run("verify").exit_code == 0


def test_list_shows_what_there_is(run: Run, store: Store) -> None:
    digest = put(store)
    assert "tiny/onnx-int4" in run("list").stdout
    assert digest[:12] in run("list").stdout
    [entry] = json.loads(run("list", "-o", "json").stdout)["artifacts"]
    assert entry["digest"] == digest


def test_verify_names_each_damaged_file_and_goes_on(run: Run, store: Store) -> None:
    os.truncate(store.path(put(store)) / "model.onnx", 7)
    put(store, "whole/onnx-int4", {"a": b"a"})
    result = run("verify")
    assert result.exit_code == 3
    assert "whole/onnx-int4: whole, 1 file," in result.stdout
    assert "model.onnx: 7 bytes, needed 2400" in result.stderr
    assert "Traceback" not in result.stderr
    assert run("verify", "whole/onnx-int4").exit_code == 0
    assert run("verify", "nothing/onnx-int4").exit_code == 3


def test_shallow_compares_sizes_only(run: Run, store: Store) -> None:
    path = store.path(put(store)) / "genai_config.json"
    path.write_bytes(b"[]")
    assert run("verify", "--shallow").exit_code == 0
    assert run("verify", "--deep").exit_code == 3


def test_remove_takes_it_away_once(run: Run, store: Store) -> None:
    put(store)
    assert "removed tiny/onnx-int4, 3.4 kB freed" in run("remove", "tiny/onnx-int4").stdout
    assert store.index() == {}
    assert run("remove", "tiny/onnx-int4").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("fetch", "tiny/onnx-int4"),
            3,
            "the package has gguf-q4_0, onnx-published, safetensors of tiny, not onnx-int4",
        ),
        (("fetch", "tiny/gguf-q8_0"), 3, "is not made of 'library', needed safetensors"),
        (("fetch", "../../etc"), 3, "is not in the catalog"),
        (("convert", "tiny", "--to", "gguf-q3_0"), 3, "not a conversion target"),
        (("convert", "phi-4-mini-instruct", "--to", "onnx-int4"), 3, "is not in"),
        (("convert", "phi-4-mini-instruct", "--to", "gguf-q4_K_M", "--from", "safetensors"), 3, "is not in"),
        (("convert", "phi-4-mini-instruct", "--to", "gguf-q4_0", "--from", "library"), 3, "needed safetensors"),
        (("convert", "phi-4-mini-instruct", "--to", "gguf-q8_0", "--from", "hub"), 3, "needed safetensors or library"),
        (("fetch", "phi-4-mini-instruct/gguf-q5_1"), 3, "is not made of 'library', needed safetensors"),
        (("fetch", "nothing/gguf-q4_K_M"), 3, "is not in the catalog"),
        (("tiny", "--to", "gguf-q3_0"), 3, "not a conversion target"),
        (("convert", "tiny"), 1, "Missing option '--to'"),
        (("fetch",), 1, "Missing argument"),
        (("polish",), 1, "No such command"),
        (("list", "--output", "xml"), 1, "xml"),
    ],
)
def test_bad_input_has_a_message_and_a_code(run: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
