"""The converter writes what the builder alone writes, and each recipe of the catalog makes a model that answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import environment, onnx
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.convert.worker import environment as surroundings
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from tests.convert import random_model
from tests.convert.answers import generate

pytestmark = pytest.mark.convert
CATALOG = load_catalog()
RECIPES = onnx.recipes(CATALOG)
# Of those on request one is made in `make test`.
OTHERS = [name for name, recipe in RECIPES.items() if recipe.on_request and name != "onnx-int4-k"]
SCRIPTS = Path(environment.__file__).with_name("scripts")
# The builder's own command line, as it would run without us.
BUILDER = """
import json, runpy, sys
arguments = json.loads(sys.argv[1])
options = [f"{name}={value}" for name, value in sorted(arguments["options"].items())]
sys.argv = ["builder", "-i", arguments["input"], "-o", arguments["output"], "-c", arguments["cache"],
            "-p", arguments["precision"], "-e", arguments["provider"], "--extra_options", *options]
runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)
"""
# Ours, in blocks of a few rows: the tiny model has too few numbers for two of the usual size.
OURS = f"""
import json, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import convert_onnx
convert_onnx.BLOCK = 7 * 256
convert_onnx.build(json.loads(sys.argv[1]))
"""
NODES = """
import json, sys
import onnx
model = onnx.load(sys.argv[1], load_external_data=False)
found = {}
for node in model.graph.node:
    values = {one.name: one.i for one in node.attribute}
    if "block_size" in values:
        found[node.op_type] = [values["block_size"], values["bits"], len(node.input)]
found["logits"] = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
print(json.dumps(found))
"""
PROMPTS = [(prompt, 24, False) for prompt in ("Hello", "What is 2+2?", "온도가 왜 오르나요?")]


def convert(converter: Converter, script: str, source: Path, work: Path, **options: object) -> Path:
    """What `script` makes of the checkpoint in `source` with the builder's `options`."""
    work.mkdir()
    arguments = {
        "input": str(source), "output": str(work / "output"), "cache": str(work / "cache"),
        "precision": onnx.PRECISION, "provider": onnx.PROVIDER, "options": options,
    }  # fmt: skip
    command = [converter.python, "-I", "-c", script, json.dumps(arguments)]
    done = subprocess.run(
        command, cwd=work, env=surroundings(work), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return work / "output"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nodes(converter: Converter, folder: Path) -> dict[str, list[int]]:
    """Block size, bits and number of inputs of the quantized nodes by operator, and the shape of the logits."""
    command = [converter.python, "-I", "-c", NODES, folder / "model.onnx"]
    found: dict[str, list[int]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


@pytest.fixture(scope="module")
def source(checkpoint: Store) -> Path:
    return checkpoint.path(checkpoint.digest(f"tiny/{SOURCE}"))


# With k_quant the builder sorts the nodes in a way of its own.
@pytest.mark.parametrize(
    ("name", "sorted_apart"),
    [("onnx-int4", set()), pytest.param("onnx-int4-k", {"model.onnx"}, marks=pytest.mark.full)],
)
def test_the_builder_alone_writes_the_same_bytes(
    converter: Converter, source: Path, tmp_path: Path, name: str, sorted_apart: set[str]
) -> None:
    wanted = onnx.options(RECIPES[name])
    ours = content(convert(converter, OURS, source, tmp_path / "ours", **wanted))
    theirs = content(convert(converter, BUILDER, source, tmp_path / "theirs", **wanted))
    assert {file for file in theirs if ours[file] != theirs[file]} == sorted_apart
    assert len(ours) == len(theirs) == 6


def test_logits_of_the_last_token_alone_change_no_answer(
    converter: Converter, shared: Store, source: Path, tmp_path: Path
) -> None:
    wanted = {**onnx.options(RECIPES["onnx-int4"]), "prune_lm_head": "false"}
    every = convert(converter, OURS, source, tmp_path / "every", **wanted)
    shutil.copy(shared.path(shared.digest("tiny/onnx-int4")) / "chat_template.jinja", every)
    last = shared.path(shared.digest("tiny/onnx-int4"))
    assert (every / "model.onnx.data").read_bytes() == (last / "model.onnx.data").read_bytes()
    assert nodes(converter, every)["logits"][1:] == [0, 2000]  # the sequence has a name there
    assert nodes(converter, last)["logits"][1:] == [1, 2000]
    assert generate(converter, every, *PROMPTS) == generate(converter, last, *PROMPTS)


@pytest.mark.parametrize("to", ["onnx-int4-k", *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS)])
def test_a_recipe_makes_what_it_says(converter: Converter, shared: Store, to: str) -> None:
    recipe, steps = RECIPES[to], list[str]()
    random_model.make(shared, to)
    made = shared.verify(f"tiny/{to}")
    assert made.parameters["block_size"] == recipe.block_size
    assert made.parameters.get("algo_config", "default") == recipe.method
    folder = shared.path(made.digest)
    found = nodes(converter, folder)
    inputs = 4 if recipe.method == "k_quant" else 3  # and zero points
    assert found["MatMulNBits"] == found["GatherBlockQuantized"] == [recipe.block_size, 4, inputs]
    texts = [answer["text"] for answer in generate(converter, folder, *PROMPTS)]
    assert len(set(texts)) == len(PROMPTS)
    random_model.make(shared, to, lambda event: steps.append(event.step))
    assert steps == ["checking the checkpoint"]


def test_a_checkpoint_that_lacks_weights_is_refused_by_name(converter: Converter, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    wanted = onnx.options(RECIPES["onnx-int4"])
    with pytest.raises(AssertionError, match=r"the checkpoint lacks model\.layers\.2\.\S+, model\.layers\.2\."):
        convert(converter, OURS, tmp_path / "source", tmp_path / "work", **wanted)
