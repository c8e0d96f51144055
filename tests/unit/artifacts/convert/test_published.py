"""The published export as the default source: which source is taken, what is refused before, what the manifest says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.convert import environment, onnx_prover, published, targets
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.fetch import model as fetch_model
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.convert.test_worker import FakeContent, plan
from tests.unit.artifacts.convert.untied_export import make
from tests.unit.artifacts.sample import leftovers, put

CATALOG = load_catalog()
MODEL = "phi-4-mini-instruct"
EXPORT, ONNX, CHECKPOINT = f"{MODEL}/onnx-published", f"{MODEL}/onnx-int4", f"{MODEL}/safetensors"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose prover says yes to everything; nobody may ask for the converter's environment."""

    def no_environment(*_: object) -> None:
        raise AssertionError("the converter environment was asked for")

    monkeypatch.setattr(environment, "ensure", no_environment)
    prover = Converter(Path("/nowhere"), {"onnxruntime-genai": "1.2.3"})
    monkeypatch.setattr(onnx_prover, "ensure", lambda *_: prover)
    monkeypatch.setattr(onnx_prover, "prove", lambda *_: None)
    return Store(tmp_path / "store")


def adopt(store: Store, artifact: str, folder: Path, **source: str) -> str:
    """Put the files in `folder` into the store, with this origin."""
    found = manifest.describe(folder)
    return store.adopt(folder, Manifest(artifact, found, "MIT", {"kind": "huggingface", **source}))


def published_in(store: Store, folder: Path) -> str:
    """The small export as what was published; its digest."""
    return adopt(store, EXPORT, make().write(folder / "export"), repo="someone/onnx", revision="a" * 40, path="cpu/x")


def test_the_published_export_is_tied_without_the_converter(store: Store, tmp_path: Path) -> None:
    source = published_in(store, tmp_path)
    digest = targets.convert(store, CATALOG, MODEL, "onnx-int4")
    found = store.verify(ONNX)
    assert found.digest == digest
    assert found.source == {
        "kind": "huggingface", "repo": "someone/onnx", "revision": "a" * 40, "path": "cpu/x",
        "artifact": EXPORT, "digest": source,
    }  # fmt: skip
    assert (found.parameters["embedding"], found.parameters["prune_lm_head"]) == ("tied", "true")
    assert found.parameters["lookup"] == "in place"
    assert found.created_by["onnxruntime-genai"] == "1.2.3"
    assert found.licence == "MIT"
    assert leftovers(store) == []


def test_what_serves_a_longer_context_is_made_of_the_same_export(store: Store, tmp_path: Path) -> None:
    variant = CATALOG.engines["onnx"].variants["int4"]
    assert (variant.artifact, variant.long) == published.TARGETS
    source = published_in(store, tmp_path)
    made = {to: targets.convert(store, CATALOG, MODEL, to) for to in published.TARGETS}
    short, long = (store.verify(f"{MODEL}/{to}") for to in published.TARGETS)
    assert (short.digest, long.digest) == tuple(made.values())
    assert long.source["digest"] == short.source["digest"] == source
    assert dict(long.parameters) == {**short.parameters, "rope_factors": "long"}
    assert {file.path for file in long.files} - {file.path for file in short.files} == {"engine.json"}
    assert targets.convert(store, CATALOG, MODEL, published.LONG) == long.digest


def test_what_was_tied_is_not_tied_again(store: Store, tmp_path: Path) -> None:
    published_in(store, tmp_path)
    first, steps = targets.convert(store, CATALOG, MODEL, "onnx-int4"), list[str]()
    assert targets.convert(store, CATALOG, MODEL, "onnx-int4", lambda event: steps.append(event.step)) == first
    assert steps == ["checking the published export"]


def test_a_model_that_does_not_answer_is_not_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_in(store, tmp_path)

    def silent(*_: object) -> None:
        raise ArtifactError("it does not generate, so it was thrown away")

    monkeypatch.setattr(onnx_prover, "prove", silent)
    with pytest.raises(ArtifactError, match="thrown away"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4")
    assert list(store.digests()) == [EXPORT]
    assert leftovers(store) == []


def test_another_export_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    folder = make().changed("head", numbers={"K": 64, "N": 96, "accuracy_level": 4, "bits": 8, "block_size": 32})
    adopt(store, EXPORT, folder.write(tmp_path / "export"))
    with pytest.raises(ArtifactError, match=r"with bits 8, needed 4.*--from safetensors"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4")
    assert list(store.digests()) == [EXPORT]
    assert leftovers(store) == []


@pytest.mark.parametrize("short", ["memory_available", "disk_free"])
def test_too_little_memory_or_disk_is_refused_before_the_start(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    published_in(store, tmp_path)
    monkeypatch.setattr(resources, short, lambda *_: 50_000_000)
    kind = "memory" if short == "memory_available" else "disk"
    with pytest.raises(ArtifactError, match=rf"tying {MODEL} to onnx-int4 needs 0\.\d GB of {kind}"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4")


def test_the_full_model_can_be_tied_on_a_controller_of_4_gb() -> None:
    export = CATALOG.models[MODEL].published
    assert export is not None
    # What a board of 4 GB says of itself, less what a system of its own takes.
    assert published.memory_need(export.size) < 3.7 * 2**30 - 0.75 * 2**30
    assert published.disk_need(export.size) < 3e9


@pytest.mark.parametrize(
    ("held", "to", "expected"),
    [
        ({}, "onnx-int4", "onnx-published"),
        ({CHECKPOINT: "huggingface"}, "onnx-int4", "onnx-published"),
        ({CHECKPOINT: "import"}, "onnx-int4", "safetensors"),
        ({CHECKPOINT: "import", EXPORT: "huggingface"}, "onnx-int4", "safetensors"),
        ({EXPORT: "huggingface"}, "gguf-q4_0", "safetensors"),
    ],
)
def test_the_source_is_what_was_published_unless_somebody_imported_his_own(
    store: Store, tmp_path: Path, held: dict[str, str], to: str, expected: str
) -> None:
    for number, (name, kind) in enumerate(held.items()):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").write_text(name)
        adopt(store, name, tmp_path / str(number), kind=kind)
    assert targets.source_of(store, CATALOG, MODEL, to) == expected


def test_a_model_that_nobody_published_is_made_of_its_checkpoint(store: Store) -> None:
    alone = {MODEL: replace(CATALOG.models[MODEL], published=None)}
    assert targets.source_of(store, replace(CATALOG, models=alone), MODEL, "onnx-int4") == "safetensors"


def test_a_source_that_the_target_is_not_made_of_is_refused(store: Store) -> None:
    with pytest.raises(ArtifactError, match="gguf-q4_0 is not made of 'onnx-published', needed safetensors"):
        targets.convert(store, CATALOG, MODEL, "gguf-q4_0", source="onnx-published")
    with pytest.raises(ArtifactError, match="not made of 'x', needed safetensors or onnx-published"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4", source="x")


def test_provision_fetches_and_ties_what_a_plan_needs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_model, "fetch", lambda store, *_: published_in(store, tmp_path))
    full = plan(runtime=None)
    assert full.model is not None
    wanted = replace(full, model=replace(full.model, id=MODEL, artifact=ONNX))
    events: list[Event] = []
    made = delivery.ensure(store, CATALOG, wanted, FakeContent(), events.append)  # type: ignore[arg-type]
    assert made.made == (EXPORT, ONNX)
    assert store.damage(ONNX) == ()


def test_a_model_that_is_there_already_is_left_as_it_is(store: Store) -> None:
    digest = put(store, ONNX)
    full = plan(digest, runtime=None)
    assert full.model is not None
    wanted = replace(full, model=replace(full.model, id=MODEL, artifact=ONNX))
    assert delivery.ensure(store, CATALOG, wanted, FakeContent()).digest == digest  # type: ignore[arg-type]


def test_the_catalog_pins_every_file_of_the_published_export() -> None:
    export = CATALOG.models[MODEL].published
    assert export is not None
    assert set(export.files) == {
        "model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert export.size == 4_924_220_757
    # fp32 embedding, int4 in blocks of 32 with fp32 scales, and norms, as the architecture has them.
    shape, hidden, inner = CATALOG.shape(MODEL), 3072, 8192
    heads = hidden + 2 * shape.kv_heads * shape.head_dim
    layer = hidden * (heads + hidden + 3 * inner)
    int4 = (shape.vocabulary * hidden + shape.layers * layer) * 5 // 8
    norms = (2 * shape.layers + 1) * hidden * 4
    assert export.files["model.onnx.data"].size == shape.vocabulary * hidden * 4 + int4 + norms


def test_what_nobody_published_is_not_fetched() -> None:
    model = CATALOG.models[MODEL]
    bare = replace(CATALOG, models=MappingProxyType({MODEL: replace(model, published=None)}))
    with pytest.raises(ArtifactError, match="no published ONNX export of"):
        fetch_model.fetch(Store(Path("/nowhere")), bare, MODEL, variant="onnx-published")
