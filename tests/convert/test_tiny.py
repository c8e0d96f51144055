"""The real converter on the tiny model of random weights."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import process
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.targets import convert
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.convert import random_model
from tests.convert.answers import generate

pytestmark = pytest.mark.convert
CATALOG = load_catalog()
ONNX, CHECKPOINT = "tiny/onnx-int4", "tiny/safetensors"


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "tmp").iterdir())


def test_the_manifest_tells_where_the_artifact_came_from(shared: Store, converter: Converter) -> None:
    found = shared.verify(ONNX)
    assert {entry.path for entry in found.files} == {
        "model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip
    assert found.source["artifact"] == CHECKPOINT
    assert found.source["digest"] == shared.digest(CHECKPOINT)
    assert found.created_by["onnxruntime-genai"] == "0.18.0"
    assert found.created_by["torch"].startswith("2.13.0")
    assert found.parameters["precision"] == "int4"
    assert found.size < 6_000_000
    assert converter.python.is_file()


def test_lengths_and_both_stop_tokens_are_set(shared: Store) -> None:
    folder = shared.path(shared.digest(ONNX))
    config = json.loads((folder / "genai_config.json").read_text())
    tokens = {
        entry["content"]: entry["id"]
        for entry in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        if entry["special"]
    }
    assert config["search"]["max_length"] == 4096
    assert config["model"]["eos_token_id"] == [tokens["<|end|>"], tokens["<|endoftext|>"]]
    assert set(tokens) >= {"<|user|>", "<|assistant|>", "<|system|>", "<|tool|>", "<|/tool|>", "<|tool_call|>"}


def test_it_answers_each_prompt_differently_and_as_long_as_asked(shared: Store, converter: Converter) -> None:
    prompts = ["Hello", "Hello.", "What is 2+2?", "What is 2+3?", "온도가 왜 오르나요?", "습도가 왜 오르나요?"]
    requests = [(prompt, 5, False) for prompt in prompts] + [("Hello", 200, False), ("Hello", 200, True)]
    answers = generate(converter, shared.path(shared.digest(ONNX)), *requests)
    assert [answer["count"] for answer in answers] == [5] * len(prompts) + [200, 200]
    assert len({answer["text"] for answer in answers[: len(prompts)]}) == len(prompts)
    assert str(answers[-2]["text"]).startswith(str(answers[0]["text"]))
    assert answers[0]["rendered"] == "<|user|>Hello<|end|><|assistant|>"
    words = re.findall(r"[A-Za-z]{3,}", str(answers[-2]["text"]))
    assert len(set(words)) > 50
    assert "\N{REPLACEMENT CHARACTER}" not in str(answers)


def test_the_same_tools_make_the_same_model(shared: Store, fresh: Store) -> None:
    assert random_model.make(fresh) == shared.digest(ONNX)
    assert fresh.digest(CHECKPOINT) == shared.digest(CHECKPOINT)
    assert leftovers(fresh) == []


def test_what_is_there_is_not_made_again(shared: Store) -> None:
    steps: list[str] = []
    random_model.make(shared, progress=lambda event: steps.append(event.step))
    # Tests of other files make models out of the same checkpoint meanwhile.
    assert [step for step in steps if not step.startswith("waiting for another process")] == ["checking the checkpoint"]


def checkpoint_with(shared: Store, store: Store, name: str, change: bytes) -> None:
    """Put the tiny checkpoint, with other content in one file, into `store`."""
    with store.workspace("test") as work:
        folder = work / "output"
        folder.mkdir()
        for path in shared.path(shared.digest(CHECKPOINT)).iterdir():
            if path.name != manifest.NAME:
                (folder / path.name).write_bytes(change if path.name == name else path.read_bytes())
        store.adopt(folder, Manifest(CHECKPOINT, manifest.describe(folder), "Apache-2.0"))


def test_a_model_that_converts_but_does_not_generate_is_thrown_away(shared: Store, fresh: Store) -> None:
    content = bytearray((shared.path(shared.digest(CHECKPOINT)) / "model.safetensors").read_bytes())
    (header,) = struct.unpack("<Q", content[:8])
    start, end = json.loads(content[8 : 8 + header])["model.norm.weight"]["data_offsets"]
    content[8 + header + start : 8 + header + end] = b"\xc0\x7f" * ((end - start) // 2)  # bf16 NaN
    checkpoint_with(shared, fresh, "model.safetensors", bytes(content))
    with pytest.raises(ArtifactError, match=r"(?s)does not generate, so it was thrown away.*not finite"):
        convert(fresh, CATALOG, "tiny", "onnx-int4", source="safetensors")
    assert list(fresh.digests()) == [CHECKPOINT]
    assert leftovers(fresh) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", b'{"tokenizer_class": "GPT2Tokenizer"}', "no chat template"),
        ("config.json", b'{"architectures": ["Phi3ForCausalLM"]}', "the model builder could not convert"),
    ],
)
def test_a_checkpoint_that_is_no_good_says_why(
    shared: Store, fresh: Store, name: str, content: bytes, message: str
) -> None:
    checkpoint_with(shared, fresh, name, content)
    with pytest.raises(ArtifactError, match=message):
        convert(fresh, CATALOG, "tiny", "onnx-int4", source="safetensors")
    assert list(fresh.digests()) == [CHECKPOINT]
    assert leftovers(fresh) == []


@contextmanager
def converting(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A conversion as a user's process, at the moment when the builder runs."""
    words = ["convert", "tiny", "--to", "onnx-int4", "--from", "safetensors"]
    command = [sys.executable, "-m", "phi4_edge", "model", *words]
    environ = {**os.environ, "PHI4_EDGE_STORE": str(store.root)}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "tiny/onnx-int4: converting" in line:
                break
        yield running
        if running.poll() is None:
            running.kill()


def workers(store: Store) -> list[str]:
    """Command lines of processes that work in this store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(store.root / "tmp") in text:
            found.append(text)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_conversion_that_is_killed_leaves_no_half_artifact(fresh: Store, number: signal.Signals, code: int) -> None:
    random_model.make(fresh, "safetensors")
    with converting(fresh) as running:
        time.sleep(1)
        running.send_signal(number)
        assert running.wait(timeout=30) == code
    for _ in range(100):
        if not workers(fresh):
            break
        time.sleep(0.1)
    assert workers(fresh) == []
    assert list(fresh.digests()) == [CHECKPOINT]
    if number == signal.SIGKILL:  # nobody could tidy up: the next run does
        random_model.make(fresh)
        assert fresh.damage(ONNX) == ()
    assert leftovers(fresh) == []


def test_the_environment_is_isolated_from_the_users_own(converter: Converter, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    env = process.environment(PYTHONPATH=str(tmp_path))
    ended = process.run([converter.python, "-I", "-c", "import torch; print(torch.__version__)"], env, cwd=tmp_path)
    assert (ended.status, ended.tail[-1]) == (0, converter.versions["torch"])
