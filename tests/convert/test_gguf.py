"""The real conversion of the tiny model to GGUF, through llama.cpp's converter and its own engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.convert import environment, gguf, llamacpp, prover
from phi4_edge.artifacts.convert.targets import convert
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.convert import random_model

pytestmark = pytest.mark.convert
CATALOG = load_catalog()
READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
import gguf
reader = gguf.GGUFReader(sys.argv[2])
fields = {name: field.contents() for name, field in reader.fields.items() if "tokenizer.ggml." not in name}
fields["pre"] = reader.get_field("tokenizer.ggml.pre").contents()
types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
print(json.dumps({"fields": fields, "types": types}, default=str))
"""


ROUND_TRIP = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np, gguf, q6k
gguf.quants.Q6_K.quantize_blocks = classmethod(q6k.quantize_blocks)
kind = gguf.GGMLQuantizationType.Q6_K
numbers = np.random.default_rng(4).normal(0, 0.02, (32, 1024)).astype(np.float32)
numbers[3] = 0
packed = gguf.quants.quantize(numbers, kind)
back = gguf.quants.dequantize(packed, kind)
error = float(np.sqrt(((numbers - back) ** 2).mean() / (numbers**2).mean()))
print(json.dumps({"bytes": int(packed.shape[1]), "error": error, "zero": bool((back[3] == 0).all())}))
"""


def read(store: Store, artifact: str) -> dict[str, Any]:
    """Metadata and tensor types of the artifact's file, as llama.cpp's own reader sees them."""
    python = environment.ensure(store).python
    library = llamacpp.sources(store) / "gguf-py"
    file = store.path(store.digest(artifact)) / gguf.FILE
    command = [python, "-I", "-c", READ, str(library), str(file)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


@pytest.mark.parametrize(("kind", "tensor"), [("q4_0", "Q4_0"), ("q5_1", "Q5_1"), ("q8_0", "Q8_0")])
def test_each_quantization_has_its_types_and_the_models_rope(
    kind: str, tensor: str, shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(llamacpp.SETTING, raising=False)
    artifact = f"tiny/gguf-{kind}"
    random_model.make(shared, f"gguf-{kind}")
    assert [entry.path for entry in shared.verify(artifact).files] == ["model.gguf"]
    found = read(shared, artifact)
    config = json.loads((shared.path(shared.digest("tiny/safetensors")) / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    fields = found["fields"]
    assert fields["general.architecture"] == "phi3"
    assert fields["phi3.rope.dimension_count"] == head * 3 // 4
    assert fields["phi3.rope.scaling.original_context_length"] == 4096
    assert fields["phi3.rope.scaling.attn_factor"] == pytest.approx(1.04083, abs=1e-4)
    assert fields["tokenizer.chat_template"].startswith("{% for message in messages %}")
    assert fields["pre"] == "gpt-2"
    assert fields["general.name"] == "tiny"
    assert found["types"]["blk.0.attn_qkv.weight"] == tensor
    assert found["types"]["token_embd.weight"] == ("Q8_0" if kind == "q8_0" else "Q6_K")
    assert {found["types"][name] for name in found["types"] if "norm" in name or "rope" in name} == {"F32"}


def test_our_q6_k_is_read_back_by_llama_cpp_with_the_error_of_six_bits(shared: Store) -> None:
    workers = Path(environment.__file__).with_name("scripts")
    library = llamacpp.sources(shared) / "gguf-py"
    command = [environment.ensure(shared).python, "-I", "-c", ROUND_TRIP, str(library), str(workers)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["bytes"] == 1024 // 256 * 210
    # llama-quantize has 0.0178 on such numbers.
    assert found["error"] < 0.0185
    assert found["zero"]


def test_the_same_checkpoint_gives_the_same_file_and_is_not_converted_twice(
    shared: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(llamacpp.SETTING, raising=False)
    steps: list[str] = []
    first = random_model.make(shared, "gguf-q4_0")
    assert random_model.make(shared, "gguf-q4_0", lambda event: steps.append(event.step)) == first
    assert "converting" not in steps
    # In a store of its own: other tests, side by side with this one, need what the shared one holds.
    other = Store(tmp_path / "store")
    other.root.mkdir()
    for name in ("environments", "locks"):  # who makes one is waited for
        (other.root / name).symlink_to(shared.root / name)
    shutil.copytree(shared.path(shared.digest("tiny/safetensors")), tmp_path / "store" / "checkpoint")
    other.adopt(tmp_path / "store" / "checkpoint", shared.manifest("tiny/safetensors"))
    assert convert(other, CATALOG, "tiny", "gguf-q4_0", source="safetensors") == first
    held = other.manifest("tiny/gguf-q4_0")
    assert held.parameters["llama_cpp"] == llamacpp.NAMED
    assert held.created_by["xllamacpp"] == "2026.10.11549"


def test_a_file_that_does_not_load_is_not_kept(shared: Store, tmp_path: Path) -> None:
    random_model.make(shared, "gguf-q8_0")
    file = shared.path(shared.digest("tiny/gguf-q8_0")) / gguf.FILE
    (tmp_path / gguf.FILE).write_bytes(file.read_bytes()[:-1000])
    tester = prover.ensure(shared)
    with pytest.raises(ArtifactError, match=r"does not generate in llama\.cpp, so it was thrown away"):
        prover.prove(tester, tmp_path / gguf.FILE, tmp_path, "tiny/gguf-q8_0", lambda event: None)


def quantizer(store: Store) -> llamacpp.Quantizer:
    """llama-quantize where somebody has built it; nobody waits for that here."""
    if not os.environ.get(llamacpp.SETTING) and not llamacpp._built(store).is_file():
        pytest.skip("llama-quantize is built with 'phi4-edge model tools', minutes of work, or PHI4_EDGE_LLAMA_CPP")
    return llamacpp.quantizer(store, CATALOG)


@pytest.mark.parametrize("kind", gguf.TYPES)
def test_the_copy_that_ollama_keeps_is_the_same_file(
    kind: str, shared: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = quantizer(shared)
    monkeypatch.delenv(llamacpp.SETTING, raising=False)
    random_model.make(shared, f"gguf-{kind}")
    artifact = shared.manifest(f"tiny/gguf-{kind}")
    made = shared.path(artifact.digest) / gguf.FILE
    llamacpp.quantize(chosen, made, tmp_path / "copy.gguf", "COPY", "tiny", lambda event: None)
    assert [entry.sha256 for entry in artifact.files] == [manifest.sha256_of(tmp_path / "copy.gguf")]


def test_a_k_quant_is_made_by_llama_quantize(shared: Store) -> None:
    quantizer(shared)
    convert(shared, CATALOG, "tiny", "gguf-q4_K_M")
    types = read(shared, "tiny/gguf-q4_K_M")["types"]
    assert types["blk.0.attn_qkv.weight"] == "Q4_K"
    assert types["token_embd.weight"] == "Q6_K"
    assert shared.manifest("tiny/gguf-q4_K_M").parameters["quantizer"] != "gguf-py"
