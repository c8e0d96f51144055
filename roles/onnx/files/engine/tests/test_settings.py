"""Settings and model directory: what is accepted, and what is said about the rest."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from client import Engine, python

from phi4_engine import modeldir, settings
from phi4_engine.errors import EX_CONFIG, ConfigurationError

GOOD = {"PHI4_MODEL_DIR": "/models/x"}
SIZES = {"num_hidden_layers": 1, "num_key_value_heads": 2, "head_size": 4}


def test_defaults_are_loopback_and_4096_tokens() -> None:
    chosen = settings.load(GOOD)
    assert (chosen.bind, chosen.port, chosen.context_length) == ("127.0.0.1", 8080, 4096)
    assert (chosen.parallel, chosen.queue, chosen.model_name) == (1, 8, "phi-4-mini-instruct")
    assert chosen.threads >= 1
    assert chosen.prefix_cache
    assert not settings.load(GOOD | {"PHI4_PREFIX_CACHE": "off"}).prefix_cache
    assert chosen.max_tokens == 4096
    assert settings.load(GOOD | {"PHI4_CONTEXT_LENGTH": "512"}).max_tokens == 512


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PHI4_PORT", "0", "from 1 to 65535"),
        ("PHI4_PORT", "65536", "from 1 to 65535"),
        ("PHI4_PORT", "80a", "whole number"),
        ("PHI4_PORT", "-1", "whole number"),
        ("PHI4_PORT", "٣", "whole number"),
        ("PHI4_PORT", "9" * 5000, "whole number"),
        ("PHI4_CONTEXT_LENGTH", "131073", "from 16 to 131072"),
        ("PHI4_THREADS", "0", "from 1"),
        ("PHI4_MAX_TOKENS", "0", "from 1 to 131072"),
        ("PHI4_PARALLEL", "1.5", "whole number"),
        ("PHI4_QUEUE", "many", "whole number"),
        ("PHI4_BIND", "localhost", "IPv4 or IPv6"),
        ("PHI4_BIND", "127.0.0.1:80", "IPv4 or IPv6"),
        ("PHI4_MODEL_NAME", "a\nb", "printable"),
        ("PHI4_MODEL_DIR", " ", "not set"),
        ("PHI4_PREFIX_CACHE", "yes", "must be on or off"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}.*{re.escape(told)}"):
        settings.load(GOOD | {name: value})


def _model(directory: Path) -> Path:
    (directory / "model.onnx").write_bytes(b"graph")
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    config = {"model": {"decoder": {"filename": "model.onnx", **SIZES}, "eos_token_id": [5, 7], "vocab_size": 10}}
    (directory / "genai_config.json").write_text(json.dumps(config))
    tokens = [{"id": 5, "content": "<|end|>", "special": True}, {"id": 9, "content": "<|tool_call|>", "special": False}]
    (directory / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    return directory


def test_a_complete_directory_is_accepted(tmp_path: Path) -> None:
    files = modeldir.inspect(_model(tmp_path))
    assert files.special_tokens == ("<|end|>", "<|tool_call|>")
    assert files.eos_ids == (5, 7)
    assert files.decoder == modeldir.Decoder(layers=1, kv_heads=2, head_size=4, vocabulary=10)


@pytest.mark.parametrize("value", [None, 0, -1, 2.0, "4", True, 10**9])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_none_is_named(tmp_path: Path, name: str, value: object) -> None:
    decoder = {**SIZES, name: value}
    (_model(tmp_path) / "genai_config.json").write_text(json.dumps({"model": {"decoder": decoder, "vocab_size": 10}}))
    with pytest.raises(ConfigurationError, match=f"for {name}: it must be a whole number"):
        modeldir.inspect(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "chat_template.jinja", "genai_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"], ids=["missing", "empty", "binary"])
def test_a_damaged_directory_names_the_file(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = _model(tmp_path) / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    if name == "model.onnx" and content:
        assert modeldir.inspect(tmp_path), "a graph is binary: only loading it can tell"
        return
    with pytest.raises(ConfigurationError, match=re.escape(name)):
        modeldir.inspect(tmp_path)


@pytest.mark.parametrize(
    ("said", "tokens", "right"),
    [
        (None, 4096, True),
        (None, 4097, False),
        ({"rope_factors": "one"}, 4097, True),
        ({"rope_factors": "one"}, 131072, True),
        ({"rope_factors": "two"}, 4097, False),
        ({}, 4097, False),
    ],
)
def test_above_4096_tokens_only_a_model_with_one_set_of_factors(
    tmp_path: Path, said: dict[str, str] | None, tokens: int, right: bool
) -> None:
    if said is not None:
        (_model(tmp_path) / "engine.json").write_text(json.dumps(said))
    files = modeldir.inspect(_model(tmp_path))
    with contextlib.nullcontext() if right else pytest.raises(ConfigurationError, match="PHI4_CONTEXT_LENGTH is 4097"):
        modeldir.require_context(files, tokens)


def test_no_context_is_longer_than_the_angles_of_the_model(tmp_path: Path) -> None:
    path = _model(tmp_path) / "genai_config.json"
    (tmp_path / "engine.json").write_text(json.dumps({"rope_factors": "one"}))
    config = json.loads(path.read_text())
    path.write_text(json.dumps({"model": {**config["model"], "context_length": 6144}}))
    files = modeldir.inspect(tmp_path)
    modeldir.require_context(files, 6144)
    with pytest.raises(ConfigurationError, match="PHI4_CONTEXT_LENGTH is 6145: this model has positions for 6144"):
        modeldir.require_context(files, 6145)


def test_a_context_that_the_model_cannot_keep_ends_with_one_line_and_78(tmp_path: Path) -> None:
    environ = {"PHI4_MODEL_DIR": str(_model(tmp_path)), "PHI4_CONTEXT_LENGTH": "4097"}
    engine = Engine(python("-m", "phi4_engine"), environ)
    try:
        assert engine.wait() == EX_CONFIG
        assert "set at most 4096" in engine.log
        assert engine.log.count("\n") == 1
    finally:
        engine.close()


@pytest.mark.parametrize("name", settings.BOUNDS)
def test_each_number_is_taken_at_its_edges_and_refused_beyond(name: str) -> None:
    low, high = settings.BOUNDS[name]
    for value in (low, high):
        settings.load(GOOD | {name: str(value)})
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigurationError, match=f"{name}.*from {low} to {high}"):
            settings.load(GOOD | {name: str(value)})


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "PHI4_MODEL_DIR is not set"),
        ({"PHI4_MODEL_DIR": "/nonexistent/model"}, "no model directory at /nonexistent/model"),
        ({"PHI4_MODEL_DIR": "/", "PHI4_THREADS": "two"}, "PHI4_THREADS is 'two'"),
    ],
)
def test_a_bad_start_ends_with_one_line_and_78(environ: dict[str, str], told: str) -> None:
    engine = Engine(python("-m", "phi4_engine"), environ)
    try:
        assert engine.wait() == EX_CONFIG
        assert told in engine.log
        assert engine.log.count("\n") == 1
    finally:
        engine.close()
