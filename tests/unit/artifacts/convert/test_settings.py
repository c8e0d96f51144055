"""The files beside a graph: what an engine needs of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.convert import tie
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.convert.untied_export import beside, make

EXPORT = make()


def config(**model: Any) -> bytes:
    """genai_config.json with other fields of the model."""
    found = json.loads(beside()["genai_config.json"])
    return json.dumps({**found, "model": {**found["model"], **model}}).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("genai_config.json", b"{", "cannot be read as JSON"),
        ("genai_config.json", b"\xff{}", "is not UTF-8"),
        ("genai_config.json", b"[]", "holds list, needed an object"),
        ("genai_config.json", b"[" * 100_000, "cannot be read as JSON"),
        ("genai_config.json", b"{}", "says type None, needed 'phi3'"),
        ("genai_config.json", config(type="gemma"), "says type 'gemma', needed 'phi3'"),
        ("genai_config.json", config(vocab_size=97), "says vocab_size 97, needed 96"),
        ("genai_config.json", config(vocab_size=96.0), r"says vocab_size 96\.0, needed 96"),
        ("genai_config.json", config(decoder=[]), "says decoder.filename None, needed 'model.onnx'"),
        ("genai_config.json", config(decoder={"filename": "../x", "hidden_size": 64}), "says decoder.filename '../x'"),
        ("genai_config.json", config(decoder={"filename": "model.onnx", "hidden_size": 32}), "hidden_size 32"),
        ("tokenizer.json", b'{"added_tokens": 5}', r"lacks <\|end\|>, <\|endoftext\|>: this is not a Phi-4"),
        ("tokenizer.json", b'{"added_tokens": [{"id": true, "content": "<|end|>"}, 5]}', r"lacks <\|end\|>, <"),
        ("tokenizer_config.json", b"{}", "has no chat template"),
        ("tokenizer_config.json", b'{"chat_template": [{"name": "default"}]}', "or one text as chat_template"),
        ("tokenizer_config.json", b'{"chat_template": " "}', "has no chat template"),
        ("chat_template.jinja", b" \n", "has no chat template"),
    ],
)
def test_files_beside_the_graph_that_do_not_fit_are_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    source = EXPORT.write(tmp_path / "source")
    (source / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        tie.tie(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_template_of_its_own_wins(tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    (source / "chat_template.jinja").write_text("{{ messages }}")
    tie.tie(source, tmp_path / "target")
    assert (tmp_path / "target" / "chat_template.jinja").read_text() == "{{ messages }}"
