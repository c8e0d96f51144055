"""Checks a model directory before a process is spent on loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_engine.errors import ConfigurationError

STOP_TOKENS = ("<|end|>", "<|endoftext|>")
"""Phi-4-mini ends a turn with the first and a document with the second; config.json names only one of them."""
TOOL_TOKENS = ("<|tool_call|>", "<|/tool_call|>")
SHORT_CONTEXT = 4096
"""Tokens up to which Phi-4-mini's LongRoPE takes its short factors (original_max_position_embeddings of config.json).

The graph chooses the factors in each call, by the length so far. What was read with the short ones stays in the cache
as it was, so that an answer which grows past this length is wrong, unless both sets are the same.
"""


@dataclass(frozen=True)
class Decoder:
    """The sizes of the exported graph that its cache and scores have; genai_config.json says them."""

    layers: int
    kv_heads: int
    head_size: int
    vocabulary: int


@dataclass(frozen=True)
class ModelFiles:
    """What the engine needs from the directory besides what the runtime reads itself."""

    directory: Path
    graph: Path
    decoder: Decoder
    chat_template: str
    special_tokens: tuple[str, ...]
    eos_ids: tuple[int, ...]
    one_rope: bool = False
    """The model has one set of rotary factors for every length: its engine.json says so."""
    positions: int = 0
    """Tokens that the graph has rotary angles for; 0 where genai_config.json does not say."""


def require_context(files: ModelFiles, tokens: int) -> None:
    """Raises ConfigurationError where answers would be wrong in a context of so many tokens."""
    if tokens > SHORT_CONTEXT and not files.one_rope:
        raise ConfigurationError(
            f"PHI4_CONTEXT_LENGTH is {tokens}: this model has other rotary factors above {SHORT_CONTEXT} tokens, and "
            f"its answers are wrong there; set at most {SHORT_CONTEXT}"
        )
    if 0 < files.positions < tokens:
        raise ConfigurationError(
            f"PHI4_CONTEXT_LENGTH is {tokens}: this model has positions for {files.positions} tokens; set at most that"
        )


def inspect(directory: Path) -> ModelFiles:
    """The directory holds a model that can be tried; raises ConfigurationError naming the missing or broken file."""
    if not directory.is_dir():
        raise ConfigurationError(f"no model directory at {directory}: set PHI4_MODEL_DIR to a converted ONNX model")
    config = _object(directory / "genai_config.json")
    model = _section(config, "model")
    decoder = _section(model, "decoder")
    graph = directory / str(decoder.get("filename", "model.onnx"))
    if not graph.is_file() or graph.stat().st_size == 0:
        raise ConfigurationError(f"{graph} is missing or empty: transfer the model again")
    template = _text(directory / "chat_template.jinja")
    if not template.strip():
        raise ConfigurationError(f"{directory / 'chat_template.jinja'} is empty: transfer the model again")
    return ModelFiles(
        directory=directory,
        graph=graph,
        decoder=Decoder(
            layers=_size(decoder, "num_hidden_layers", 1024),
            kv_heads=_size(decoder, "num_key_value_heads", 1024),
            head_size=_size(decoder, "head_size", 4096),
            vocabulary=_size(model, "vocab_size", 2**24),
        ),
        chat_template=template,
        special_tokens=_special_tokens(_object(directory / "tokenizer.json")),
        eos_ids=_ids(model.get("eos_token_id", [])),
        one_rope=_one_rope(directory / "engine.json"),
        positions=_size(model, "context_length", 2**30) if "context_length" in model else 0,
    )


def _one_rope(path: Path) -> bool:
    """What the converter says of the model; without the file the factors are the checkpoint's two sets."""
    return path.is_file() and _object(path).get("rope_factors") == "one"


def _special_tokens(tokenizer: dict[str, Any]) -> tuple[str, ...]:
    """Every added token: roles, ends, tools. None of them is text that a user should see."""
    added = tokenizer.get("added_tokens", [])
    return tuple(str(entry["content"]) for entry in added if isinstance(entry, dict) and "content" in entry)


def _ids(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(one for one in values if isinstance(one, int))


def _size(section: dict[str, Any], name: str, most: int) -> int:
    value = section.get(name)
    if type(value) is not int or not 1 <= value <= most:
        found = json.dumps(value)[:40]
        raise ConfigurationError(
            f"genai_config.json says {found} for {name}: it must be a whole number from 1 to {most}; "
            f"convert the model with phi4-edge again"
        )
    return value


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON ({error}): transfer the model again") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} does not hold a JSON object: transfer the model again")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot read {path} ({reason}): transfer the model again") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text: transfer the model again") from error
