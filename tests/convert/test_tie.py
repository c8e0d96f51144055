"""The real builder's untied export, tied by us: the same tokens as the builder's own shared embedding gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.convert import environment, tie
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.model import PlannedModel
from phi4_edge.errors import ArtifactError
from tests.convert import published
from tests.unit.artifacts.convert.test_worker import FakeContent, plan
from tests.unit.artifacts.fetch.standin_hub import StandinHub
from tests.unit.artifacts.sample import catalog_publishing

pytestmark = pytest.mark.convert
MODEL = "phi-4-mini-instruct"
ONNX = f"{MODEL}/onnx-int4"
TOKENS = """
import json, sys
import numpy as np
import onnxruntime_genai as og
import onnxruntime
session = onnxruntime.InferenceSession(f"{sys.argv[1]}/model.onnx")
print(json.dumps(next(one.shape for one in session.get_outputs() if one.name == "logits")))
model = og.Model(sys.argv[1])
tokenizer = og.Tokenizer(model)
for prompt in json.loads(sys.argv[2]):
    ids = tokenizer.encode(prompt)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + 64, do_sample=False)
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    made, largest = [], []
    while not generator.is_done():
        largest.append(float(np.asarray(generator.get_logits()).max()))
        generator.generate_next_token()
        made.append(int(generator.get_next_tokens()[0]))
    print(json.dumps([made, largest]))
"""
# As earlier builders wrote it: older operators, and all scales of a matrix in one row.
OLDER = """
import math, sys
import onnx
model = onnx.load(sys.argv[1], load_external_data=False)
model.ir_version, model.opset_import[0].version = 7, 14
for tensor in model.graph.initializer:
    if tensor.name.endswith("_scales"):
        tensor.dims[:] = [math.prod(tensor.dims)]
onnx.save(model, sys.argv[1])
"""
PROMPTS = ["<|user|>Hello<|end|><|assistant|>", "What is 2+2?", "온도가 왜 오르나요?", "the pump stopped again"]


@pytest.fixture(scope="session")
def export(shared: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in its published form."""
    return published.export(shared, tmp_path_factory.mktemp("export"))


def answers(store: Store, folder: Path) -> list[object]:
    """The shape of the logits, then tokens and largest logits of the greedy answers of the model in `folder`."""
    command = [environment.ensure(store).python, "-I", "-c", TOKENS, folder, json.dumps(PROMPTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_tied_export_is_the_builders_own_shared_one(shared: Store, export: Path, tmp_path: Path) -> None:
    made, theirs = tmp_path / "tied", shared.path(shared.digest("tiny/onnx-int4"))
    tie.tie(export, made)
    found = answers(shared, made)
    assert found == answers(shared, theirs)
    assert found[0] == ["batch_size", 1, 2000]
    # All but the graph, whose names differ, and the template that a file of its own brought there.
    for name in ("model.onnx.data", "genai_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (made / name).read_bytes() == (theirs / name).read_bytes(), name


def test_an_export_of_an_older_builder_answers_alike(shared: Store, export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "older")
    command = [environment.ensure(shared).python, "-I", "-c", OLDER, tmp_path / "older" / "model.onnx"]
    subprocess.run(command, check=True, timeout=120)
    tie.tie(tmp_path / "older", tmp_path / "tied")
    assert answers(shared, tmp_path / "tied") == answers(shared, shared.path(shared.digest("tiny/onnx-int4")))


def test_a_store_with_nothing_else_gets_the_model_without_pytorch(
    shared: Store, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in export.iterdir()}
    catalog, store = catalog_publishing(files, MODEL), Store(tmp_path / "store")
    wanted = replace(plan(runtime=None), model=PlannedModel(MODEL, MODEL, ONNX, None, 1))
    with StandinHub({f"cpu/int4/{name}": content for name, content in files.items()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        made = delivery.ensure(store, catalog, wanted, FakeContent())  # type: ignore[arg-type]
    assert made.made == (f"{MODEL}/onnx-published", ONNX)
    assert answers(shared, store.path(made.digest)) == answers(shared, shared.path(shared.digest("tiny/onnx-int4")))
    found = store.verify(ONNX)
    assert (found.source["repo"], found.source["path"]) == (hub.repo, "cpu/int4")
    assert found.created_by["onnxruntime-genai"] == "0.18.0"
    (prover,) = (store.root / "environments").iterdir()
    assert prover.name.startswith("onnxruntime-")
    assert not list(prover.glob("lib/python3*/site-packages/torch"))
    assert not list((store.root / "tmp").iterdir())


def test_an_export_with_logits_of_the_last_token_alone_stays_one(shared: Store, tmp_path: Path) -> None:
    source = published.export(shared, tmp_path, prune_lm_head="true")
    made, theirs = tmp_path / "tied", shared.path(shared.digest("tiny/onnx-int4"))
    tie.tie(source, made)
    assert answers(shared, made) == answers(shared, theirs)
    assert (made / "model.onnx.data").read_bytes() == (theirs / "model.onnx.data").read_bytes()


def test_an_asymmetric_export_is_refused(shared: Store, tmp_path: Path) -> None:
    source = published.export(shared, tmp_path, is_symmetric="false")
    with pytest.raises(ArtifactError, match="needed weights and scales alone: no zero points"):
        tie.tie(source, tmp_path / "tied")
    assert not (tmp_path / "tied").exists()


def test_what_is_tied_already_is_refused(shared: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"found no tensor model\.embed_tokens\.weight"):
        tie.tie(shared.path(shared.digest("tiny/onnx-int4")), tmp_path / "tied")
