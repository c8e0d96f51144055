"""Above 4096 tokens: with the long factors alone, prompts read in pieces give what one reading gives."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import rope, tie
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.store import Store
from tests.convert import published, random_model
from tests.convert.answers import generate

pytestmark = pytest.mark.convert
# 4,000 tokens, then pieces that lie before, across and behind 4,096, against all of it at once; and what is said next.
PIECES = """
import json, sys
import numpy as np
import onnxruntime_genai as og
model, dice = og.Model(sys.argv[1]), np.random.default_rng(7)
for length in (4200, 5000):
    prompt = dice.integers(0, 1900, length).astype(np.int32)
    scores, answers = [], []
    for ends in ([length], [4000, 4050, 4150, length]):
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=length + 16, do_sample=False)
        generator, start = og.Generator(model, parameters), 0
        for end in ends:
            generator.append_tokens(prompt[start:end])
            start = end
        scores.append(np.array(generator.get_logits()).reshape(-1))
        made = []
        while not generator.is_done():
            generator.generate_next_token()
            made.append(int(generator.get_next_tokens()[0]))
        answers.append(made)
    print(json.dumps([float(np.abs(scores[0] - scores[1]).max()), answers[0] == answers[1]]))
"""
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "long_context.py"
PROMPTS = [(prompt, 24, False) for prompt in ("Hello", "What is 2+2?", "the pump stopped again")]


def differences(converter: Converter, folder: Path) -> list[tuple[float, bool]]:
    """For each prompt: the largest difference of a score, and whether the answers are the same."""
    command = [converter.python, "-I", "-c", PIECES, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_with_the_long_factors_alone_pieces_are_one_reading(
    converter: Converter, shared: Store, tmp_path: Path
) -> None:
    export = published.export(shared, tmp_path)
    tie.tie(export, tmp_path / "long", long_rope=True)
    assert differences(converter, tmp_path / "long") == [(0.0, True), (0.0, True)]
    tie.tie(export, tmp_path / "short")
    assert all(difference > 0.01 for difference, _ in differences(converter, tmp_path / "short"))
    # The factors are others, so the answers are too.
    assert generate(converter, tmp_path / "long", *PROMPTS) != generate(converter, tmp_path / "short", *PROMPTS)


def read_by_the_engine(converter: Converter, folder: Path) -> str:
    """What the benchmark of long contexts says: the engine's own loop in pieces, against one reading."""
    command = [converter.python, "-I", BENCHMARK, folder, "--prompts", "2"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300).stdout


@pytest.mark.full
def test_the_engine_itself_reads_long_prompts_as_they_are(converter: Converter, shared: Store, tmp_path: Path) -> None:
    export = published.export(shared, tmp_path)
    tie.tie(export, tmp_path / "long", long_rope=True)
    said = read_by_the_engine(converter, tmp_path / "long")
    assert said.startswith("2 of 2 prompts of ") and "difference of a score: 0\n" in said
    # The same with both sets, by a model that says something else: the benchmark would see it.
    tie.tie(export, tmp_path / "liar")
    (tmp_path / "liar" / "engine.json").write_bytes(rope.SAID)
    assert "difference of a score: 0\n" not in read_by_the_engine(converter, tmp_path / "liar")


def test_a_checkpoint_becomes_the_same_model(converter: Converter, shared: Store, tmp_path: Path) -> None:
    tie.tie(published.export(shared, tmp_path), tmp_path / "tied", long_rope=True)
    random_model.make(shared, "onnx-int4-long")
    made = shared.verify("tiny/onnx-int4-long")
    assert made.parameters["rope_factors"] == "long"
    folder = shared.path(made.digest)
    for name in ("model.onnx.data", "engine.json", "genai_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "tied" / name).read_bytes(), name
    assert generate(converter, folder, *PROMPTS) == generate(converter, tmp_path / "tied", *PROMPTS)
