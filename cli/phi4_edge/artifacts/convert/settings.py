"""What an engine reads beside the graph: the length to allocate for, stop tokens, tokenizer and chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store.files import read_plain
from phi4_edge.core.text import clean
from phi4_edge.errors import ArtifactError

# Total context an engine allocates for; above 4096 Phi-4-mini's LongRoPE switches to other factors.
MAX_LENGTH = 4096
# Phi-4 ends a turn with <|end|> and a text with <|endoftext|>; an engine that knows only one of them talks on.
STOP_TOKENS = ("<|end|>", "<|endoftext|>")
CONFIG, TOKENIZER, TOKENIZER_CONFIG = "genai_config.json", "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
# What onnxruntime-genai calls the architecture of Phi-4-mini.
_TYPE = "phi3"
_MOST_BYTES = 64 << 20


def complete(folder: Path) -> None:
    """Set in the folder of an export what its builder leaves to each caller: length, stop tokens, chat template.

    Without max_length an engine allocates keys and values for the longest context: 32 GiB for Phi-4-mini. Raises
    ArtifactError where the tokenizer or the template is not that of a Phi-4 model.
    """
    config = _object(folder / CONFIG)
    (folder / TEMPLATE).write_bytes(_template(folder))
    (folder / CONFIG).write_bytes(_completed(config, folder))


def read(folder: Path, graph: str, vocabulary: int, hidden: int) -> dict[str, bytes]:
    """The files beside the graph in `folder` as an engine needs them, by name.

    Raises ArtifactError unless they are for a model file `graph` with a matrix of `vocabulary` x `hidden`.
    """
    config = _object(folder / CONFIG)
    model = _section(config, "model")
    decoder = _section(model, "decoder")
    wanted = {
        "type": (model.get("type"), _TYPE),
        "vocab_size": (model.get("vocab_size"), vocabulary),
        "decoder.filename": (decoder.get("filename"), graph),
        "decoder.hidden_size": (decoder.get("hidden_size"), hidden),
    }
    for name, (found, needed) in wanted.items():
        if found != needed or type(found) is not type(needed):
            raise ArtifactError(f"{folder / CONFIG} says {name} {_shown(found)}, needed {needed!r} as in {graph}")
    _object(folder / TOKENIZER_CONFIG)
    return {
        CONFIG: _completed(config, folder),
        TEMPLATE: _template(folder),
        TOKENIZER: _content(folder / TOKENIZER),
        TOKENIZER_CONFIG: _content(folder / TOKENIZER_CONFIG),
    }


def _completed(config: dict[str, Any], folder: Path) -> bytes:
    model, search = _section(config, "model"), _section(config, "search")
    made = {
        **config,
        "model": {**model, "eos_token_id": _stop_ids(folder / TOKENIZER)},
        "search": {**search, "max_length": MAX_LENGTH},
    }
    return (json.dumps(made, indent=2, sort_keys=True) + "\n").encode()


def _stop_ids(path: Path) -> list[int]:
    """Ids of the stop tokens in the tokenizer at `path`."""
    added = _object(path).get("added_tokens")
    ids = {
        str(token.get("content")): token["id"]
        for token in (added if isinstance(added, list) else [])
        if isinstance(token, dict) and type(token.get("id")) is int
    }
    if missing := [name for name in STOP_TOKENS if name not in ids]:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}: this is not a Phi-4 checkpoint")
    return [ids[name] for name in STOP_TOKENS]


def _template(folder: Path) -> bytes:
    """The chat template: a file of its own as newer exports have it, else from the tokenizer's configuration."""
    if (folder / TEMPLATE).exists():
        found: object = _text(folder / TEMPLATE)
    else:
        found = _object(folder / TOKENIZER_CONFIG).get("chat_template")
    if not isinstance(found, str) or not found.strip():
        raise ArtifactError(
            f"{folder} has no chat template, needed {TEMPLATE} or one text as chat_template in {TOKENIZER_CONFIG}"
        )
    return found.encode()


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} cannot be read as JSON ({clean(str(error), 120)})") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} holds {type(found).__name__}, needed an object")
    return found


def _text(path: Path) -> str:
    try:
        return _content(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not UTF-8 text") from error


def _content(path: Path) -> bytes:
    found = read_plain(path, _MOST_BYTES + 1)
    if not found or len(found) > _MOST_BYTES:
        size = f"more than {_MOST_BYTES} bytes" if found else "nothing"
        raise ArtifactError(f"{path}: found {size}, needed a plain file of up to {_MOST_BYTES} bytes")
    return found


def _shown(value: object) -> str:
    return clean(repr(value), 60)
