"""`model import`: what is taken from a folder, what is refused, and that plans, delivery and bundles then have it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle import bundle
from phi4_edge.artifacts.fetch import local
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table
from phi4_edge.errors import ArtifactError
from phi4_edge.main import cli
from tests.standins import int4_checkpoint
from tests.unit.artifacts.bundle.full_store import Content, plan, served

CATALOG = load_catalog()
INT4, BF16 = "tiny/safetensors-int4", "tiny/safetensors"
HOSTS = Path(__file__).parents[3] / "fixtures" / "hosts"
CONFIG = {
    "architectures": ["Phi3ForCausalLM"], "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 1, "vocab_size": 100,
}  # fmt: skip


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A checkpoint with bf16 weights and one linear layer of 8 by 256."""
    folder = tmp_path / "plain"
    folder.mkdir()
    numbers = [(index % 29 - 14) / 8 for index in range(2048)]
    halves = b"".join(struct.pack("<f", number)[2:] for number in numbers)
    tensors = {"a_proj.weight": ("BF16", [8, 256], halves), "norm.weight": ("BF16", [2], halves[:4])}
    int4_checkpoint.write(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def quantized(plain: Path, tmp_path: Path) -> Path:
    return int4_checkpoint.make(plain, tmp_path / "int4")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def change(folder: Path, **values: Any) -> None:
    """config.json with other values; None takes one away."""
    config = json.loads((folder / "config.json").read_text()) | values
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def planned(store: Store, host: str, **overrides: Any) -> Plan:
    found = parse.parse(json.loads((HOSTS / f"{host}.json").read_text()))
    variables = {f"phi4_{name}": value for name, value in overrides.items()}
    return decide(found, load_table(), CATALOG, Overrides.from_vars(found.host, variables), Inputs(store.digests()))


def test_the_helper_rounds_to_the_nearest_of_sixteen_values(plain: Path, quantized: Path) -> None:
    found = int4_checkpoint.read(quantized / "model.safetensors")
    assert found["norm.weight"] == int4_checkpoint.read(plain / "model.safetensors")["norm.weight"]
    kind, shape, words = found["a_proj.weight_packed"]
    assert (kind, shape, found["a_proj.weight_shape"][2]) == ("I32", [8, 32], struct.pack("<2q", 8, 256))
    scales = [struct.unpack("<f", b"\0\0" + found["a_proj.weight_scale"][2][at : at + 2])[0] for at in range(0, 32, 2)]
    values = [word >> 4 * place & 15 for (word,) in struct.iter_unpack("<I", words) for place in range(8)]
    for index, value in enumerate(values):
        wanted = (index % 29 - 14) / 8
        assert abs((value - 8) * scales[index // 128] - wanted) <= scales[index // 128] * 0.51


def test_awq_s_form_holds_the_same_values(plain: Path, quantized: Path, tmp_path: Path, store: Store) -> None:
    other = int4_checkpoint.make(plain, tmp_path / "awq", awq=True)
    found = int4_checkpoint.read(other / "model.safetensors")
    assert {name: part[:2] for name, part in found.items() if name != "norm.weight"} == {
        "a_proj.qweight": ("I32", [256, 1]), "a_proj.qzeros": ("I32", [2, 1]), "a_proj.scales": ("BF16", [2, 8]),
    }  # fmt: skip
    words = [word for (word,) in struct.iter_unpack("<I", found["a_proj.qweight"][2])]
    first = int4_checkpoint.read(quantized / "model.safetensors")["a_proj.weight_packed"][2]
    before = [word for (word,) in struct.iter_unpack("<I", first)]
    for row, place in ((0, 0), (1, 4), (2, 1), (7, 7)):
        for column in (0, 9, 255):
            assert words[column] >> 4 * place & 15 == before[row * 32 + column // 8] >> 4 * (column % 8) & 15
    assert set(found["a_proj.qzeros"][2]) == {0x88}
    local.run(store, CATALOG, INT4, other)
    assert store.manifest(INT4).parameters == {"quantization": "awq", "bits": 4}


def test_a_checkpoint_is_taken_with_its_hashes(store: Store, quantized: Path) -> None:
    (quantized / "README.md").write_text("how it was made")
    (quantized / ".cache").mkdir()
    digest = local.run(store, CATALOG, INT4, quantized)
    held = store.verify(INT4)
    assert (held.digest, held.source, held.licence) == (digest, {"kind": "import"}, "Apache-2.0")
    assert held.parameters == {"quantization": "compressed-tensors", "bits": 4}
    assert [entry.path for entry in held.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert local.run(store, CATALOG, INT4, quantized) == digest
    assert (quantized / "README.md").is_file() and list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modeling_phi3.py", "modeling_phi3.py may run code"),
        ("pytorch_model.bin", "pytorch_model.bin may run code"),
        (".hidden.py", "hidden.py may run code"),
        ("weights.PT", "weights.PT may run code"),
        ("notes.pickle", "notes.pickle is of no kind that a checkpoint needs"),
        ("a\x1b[31m.json", r"'a\\x1b\[31m.json' is not a plain relative file name"),
    ],
)
def test_what_may_run_or_is_unknown_is_refused(store: Store, quantized: Path, name: str, message: str) -> None:
    (quantized / name).write_text("x")
    with pytest.raises(ArtifactError, match=message):
        local.run(store, CATALOG, INT4, quantized)
    assert store.digests() == {}


def test_links_and_folders_are_refused(store: Store, quantized: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (quantized / "generation_config.json").symlink_to(tmp_path / "elsewhere.json")
    (quantized / "original").mkdir()
    os.mkfifo(quantized / "pipe.json")
    with pytest.raises(
        ArtifactError, match=r"generation_config.json is a link .*original is no plain .*pipe.json is no"
    ):
        local.run(store, CATALOG, INT4, quantized)
    with pytest.raises(ArtifactError, match="found no folder"):
        local.run(store, CATALOG, INT4, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, r"says architectures \['LlamaForCausalLM'\], needed \['Phi3For"),
        ({"num_hidden_layers": 33}, "num_hidden_layers 33, needed at most 32: this is not tiny"),
        ({"num_key_value_heads": None}, "num_key_value_heads None, needed at most 8"),
        ({"head_dim": 256}, "hidden_size / num_attention_heads 256, needed at most 128"),
        ({"vocab_size": 0}, "vocab_size 0, needed at most 200064"),
        ({"quantization_config": None}, "no quantization_config, needed one for int4"),
        ({"quantization_config": {"quant_method": "awq", "bits": 8}}, "weights of 8 bits, needed 4"),
        (
            {"quantization_config": {"config_groups": {"group_0": {"weights": {"num_bits": 8}}}}},
            "weights of 8 bits, needed 4",
        ),
    ],
)
def test_another_model_is_refused(store: Store, quantized: Path, values: dict[str, Any], message: str) -> None:
    change(quantized, **values)
    with pytest.raises(ArtifactError, match=message):
        local.run(store, CATALOG, INT4, quantized)


def test_bf16_and_int4_are_told_apart_and_the_real_model_has_its_own_shape(
    store: Store, plain: Path, quantized: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"quantized weights \(compressed-tensors\), needed plain ones for bf16"):
        local.run(store, CATALOG, BF16, quantized)
    local.run(store, CATALOG, BF16, plain)
    assert store.manifest(BF16).parameters["quantization"] == "bf16"
    real = "phi-4-mini-instruct/safetensors-int4"
    with pytest.raises(ArtifactError, match="num_hidden_layers 1, needed 32: this is not phi-4-mini-instruct"):
        local.run(store, CATALOG, real, quantized)
    change(quantized, num_hidden_layers=32, num_key_value_heads=8, head_dim=128, vocab_size=200064)
    local.run(store, CATALOG, real, quantized)
    with pytest.raises(ArtifactError, match="tiny/onnx-int4 is not a checkpoint of the catalog; checkpoints to import"):
        local.run(store, CATALOG, "tiny/onnx-int4", plain)


def test_what_is_not_whole_is_refused(store: Store, quantized: Path) -> None:
    weights = quantized / "model.safetensors"
    content = weights.read_bytes()
    for raw, message in (
        (content[:-1], f"has {len(content) - 1} bytes, needed {len(content)} by its own header"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "is not a safetensors file"),
    ):
        weights.write_bytes(raw)
        with pytest.raises(ArtifactError, match=message):
            local.run(store, CATALOG, INT4, quantized)
    weights.write_bytes(content)
    (quantized / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    with pytest.raises(ArtifactError, match=r"lacks model-2.safetensors, which model.safetensors.index.json names"):
        local.run(store, CATALOG, INT4, quantized)
    (quantized / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"lacks tokenizer.json"):
        local.run(store, CATALOG, INT4, quantized)


def test_weights_that_plans_do_not_count_with_are_refused(store: Store, quantized: Path) -> None:
    tensor = {"data_offsets": [0, 3_100_000_000], "dtype": "I32", "shape": [1]}
    header = json.dumps({"a": tensor}).encode()
    with (quantized / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        out.truncate(8 + len(header) + 3_100_000_000)
    with pytest.raises(ArtifactError, match=r"weights of 3.10 GB .*, needed at most 3.04 GB: plans count with 2.90 GB"):
        local.run(store, CATALOG, INT4, quantized)


def test_a_plan_can_be_applied_as_soon_as_it_is_there(store: Store, quantized: Path) -> None:
    wishes = {"model": "tiny", "engine": "vllm", "quantization": "int4", "profile": "development"}
    before = planned(store, "n150-8gb", **wishes)
    assert not before.applicable
    assert "`phi4-edge model import tiny/safetensors-int4 DIRECTORY` imports your own" in str(before.not_applicable)
    digest = local.run(store, CATALOG, INT4, quantized)
    after = planned(store, "n150-8gb", **wishes)
    assert after.applicable and after.accelerator == "cpu" and after.model is not None
    assert (after.model.artifact, after.model.digest) == (INT4, digest)


def test_the_choice_takes_it_in_the_catalog_s_order(store: Store, quantized: Path) -> None:
    small = {"model": "tiny", "context_length": 32768}
    assert planned(store, "xeon-rtx3060-driver570", **small).engine == "ollama"
    local.run(store, CATALOG, INT4, quantized)
    made = planned(store, "xeon-rtx3060-driver570", **small)
    assert (made.engine, made.quantization) == ("vllm", "int4")
    plain = planned(store, "xeon-rtx3060-driver570", model="tiny")
    assert (plain.engine, plain.quantization) == ("vllm", "bf16")
    assert planned(store, "xeon-rtx3060-driver570", context_length=32768).engine == "ollama"


def test_it_is_delivered_and_bundled(store: Store, quantized: Path, tmp_path: Path) -> None:
    digest = local.run(store, CATALOG, INT4, quantized)
    made = plan(store, engine="vllm", model=served(INT4, digest), runtime=None)
    assert delivery.missing(store, made) == []
    assert delivery.ensure(store, CATALOG, made, Content()).digest == digest
    path, other = tmp_path / "b.tar", Store(tmp_path / "other")
    bundle.create(store, [made], Content(), path)
    opened = bundle.Bundle.open(path, Content())
    assert opened.digests() == {INT4: digest}
    opened.bring(other)
    assert other.verify(INT4).source == {"kind": "import"}


def test_the_command_says_what_it_took_and_why_it_does_not(
    store: Store, quantized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI4_EDGE_STORE", str(store.root))
    run: Callable[..., Any] = lambda *words: CliRunner().invoke(cli, ["model", "import", *map(str, words)])  # noqa: E731
    done = run(INT4, quantized)
    assert done.exit_code == 0 and done.stdout.startswith(f"{INT4}  ")
    (quantized / "x.py").write_text("")
    refused = run(INT4, quantized)
    assert refused.exit_code == 3 and "x.py may run code" in refused.stderr and "Traceback" not in refused.stderr
    assert run("tiny", quantized).exit_code == 3
