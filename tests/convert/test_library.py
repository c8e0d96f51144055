"""A file that llama.cpp's converter wrote, as a library publishes it: read, tried in llama.cpp itself, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import gguf, gguf_file, library, prover
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Architecture
from phi4_edge.errors import ArtifactError
from tests.convert import random_model
from tests.unit.artifacts.convert.published_gguf import catalog, publish
from tests.unit.artifacts.images.standin_registry import serving

pytestmark = pytest.mark.convert
VARIANT = "gguf-q8_0"


@pytest.mark.full
def test_a_converted_file_passes_as_a_published_one(
    shared: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_model.make(shared, VARIANT)
    path = shared.path(shared.digest(f"tiny/{VARIANT}")) / gguf.FILE
    raw, header = path.read_bytes(), gguf_file.read(path)
    assert header.in_copy_order
    arranged = tmp_path / gguf.FILE
    gguf_file.arrange(path, header, arranged)
    assert arranged.read_bytes() == raw
    config = json.loads((shared.path(shared.digest("tiny/safetensors")) / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    rotary = int(head * config["partial_rotary_factor"])
    total = sum(one.numbers for one in header.tensors if not one.name.startswith("rope_factors"))
    shape = Architecture(
        total, config["num_hidden_layers"], config["num_key_value_heads"], head, config["vocab_size"]
    )  # fmt: skip
    store = Store(tmp_path / "store")
    # The prover's environment is the one that is there already.
    monkeypatch.setattr(prover, "ensure", lambda _store, progress, made=prover.ensure: made(shared, progress))
    with serving() as registry:
        publish(registry, raw)
        known = catalog(
            registry.host, raw, shape=shape, rotary=rotary, variant=VARIANT, context=config["max_position_embeddings"]
        )
        digest = library.fetch(store, known, "sample", VARIANT)
        assert (store.path(digest) / gguf.FILE).read_bytes() == raw
        assert store.manifest(f"sample/{VARIANT}").created_by["xllamacpp"]
        # Every number of the model is right, and it says nothing: its weights are nonsense that llama.cpp refuses.
        broken = bytearray(raw)
        broken[header.data :] = b"\xff" * (len(raw) - header.data)
        publish(registry, bytes(broken))
        known = catalog(
            registry.host, bytes(broken), shape=shape, rotary=rotary, variant=VARIANT,
            context=config["max_position_embeddings"],
        )  # fmt: skip
        with pytest.raises(ArtifactError, match=r"does not generate in llama\.cpp"):
            library.fetch(Store(tmp_path / "other"), known, "sample", VARIANT)
