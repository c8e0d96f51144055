"""The order of keys and tensors in a GGUF file of ours; that llama-quantize has the same is tried in tests/convert."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from phi4_edge.artifacts.convert import gguf, llamacpp

sys.path.insert(0, str(Path(gguf.__file__).with_name("scripts")))
import copy_order


def writer(keys: list[str], tensors: list[str]) -> SimpleNamespace:
    """What gguf-py's writer holds before it has written anything."""
    return SimpleNamespace(kv_data=[dict.fromkeys(keys, 1)], tensors=[{name: name.upper() for name in tensors}])


def test_file_type_and_version_come_last_and_the_rest_stays() -> None:
    given = ["general.architecture", "general.file_type", "general.name", "general.quantization_version", "tokenizer.x"]
    one = writer(given, ["a"])
    copy_order.arrange(one)
    (keys,) = one.kv_data
    assert list(keys) == ["general.architecture", "general.name", "tokenizer.x", *copy_order.LAST]


def test_tensors_of_no_layer_come_first_then_layer_by_layer_in_the_order_of_bytes() -> None:
    given = [
        "blk.10.attn_norm.weight", "blk.2.ffn_up.weight", "token_embd.weight", "blk.2.attn_qkv.weight",
        "blk.2.attn_qkv.bias", "output_norm.weight", "blk.0.ffn_up.weight", "rope_factors_long.weight", "Output.weight",
    ]  # fmt: skip
    one = writer(list(copy_order.LAST), given)
    copy_order.arrange(one)
    (tensors,) = one.tensors
    assert list(tensors) == [
        "Output.weight", "output_norm.weight", "rope_factors_long.weight", "token_embd.weight", "blk.0.ffn_up.weight",
        "blk.2.attn_qkv.bias", "blk.2.attn_qkv.weight", "blk.2.ffn_up.weight", "blk.10.attn_norm.weight",
    ]  # fmt: skip
    assert tensors["blk.0.ffn_up.weight"] == "BLK.0.FFN_UP.WEIGHT"


@pytest.mark.parametrize("lacking", copy_order.LAST)
def test_a_file_that_lacks_what_llama_quantize_would_add_is_not_written(lacking: str) -> None:
    with pytest.raises(SystemExit, match=f"sets no {lacking}, which llama-quantize would add"):
        copy_order.arrange(writer([key for key in copy_order.LAST if key != lacking], ["a"]))


def test_a_file_of_another_order_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gguf._parameters("q4_0", "gguf-py")["recipe"]
    assert before == llamacpp.recipe("convert_gguf", "copy_order", "q6k")
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "copy_order.py" else b""))
    assert gguf._parameters("q4_0", "gguf-py")["recipe"] != before
