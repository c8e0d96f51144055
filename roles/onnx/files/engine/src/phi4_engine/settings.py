"""The environment of the process, read once, checked, frozen."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from phi4_engine.errors import ConfigurationError
from phi4_engine.names import name_of, origin_of

BOUNDS: Mapping[str, tuple[int, int]] = {
    name: (low, high) for name, (low, high) in json.loads(Path(__file__).with_name("bounds.json").read_text()).items()
}
"""Least and most of each number. The planner reads the same file: what it plans, this engine accepts.

131,072 tokens are Phi-4-mini's max_position_embeddings (config.json of microsoft/Phi-4-mini-instruct).
"""
_MOST_NAMES = 32


@dataclass(frozen=True)
class Settings:
    """Everything that the environment file of a release decides. Context is in tokens."""

    model_dir: Path
    model_name: str
    bind: str
    port: int
    context_length: int
    threads: int
    parallel: int
    queue: int
    max_tokens: int
    release: str
    connections: int
    deadline_seconds: int
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    metrics: bool
    prefix_cache: bool
    """Whether what was read for one prompt is used again for another one that begins with the same tokens."""
    repacked: Path | None
    """Where weights may lie as the runtime's kernels read them; see `repacked`."""
    key_usage: Path | None
    """A directory for what the keys of a gateway have used; None: there is no gateway that says whose requests come."""


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the variables PHI4_*; raises ConfigurationError with the variable, its value and what it may be."""
    model_dir = environ.get("PHI4_MODEL_DIR", "").strip()
    if not model_dir:
        raise ConfigurationError("PHI4_MODEL_DIR is not set: it must name the directory of the ONNX model")
    context = _number(environ, "PHI4_CONTEXT_LENGTH", 4096)
    return Settings(
        model_dir=Path(model_dir),
        model_name=_name(environ, "PHI4_MODEL_NAME", "phi-4-mini-instruct"),
        bind=_address(environ, "PHI4_BIND", "127.0.0.1"),
        port=_number(environ, "PHI4_PORT", 8080),
        context_length=context,
        threads=_number(environ, "PHI4_THREADS", _usable_cpus()),
        parallel=_number(environ, "PHI4_PARALLEL", 1),
        queue=_number(environ, "PHI4_QUEUE", 8),
        max_tokens=_number(environ, "PHI4_MAX_TOKENS", context),
        release=_name(environ, "PHI4_RELEASE", "unreleased"),
        connections=_number(environ, "PHI4_CONNECTIONS", 256),
        deadline_seconds=_number(environ, "PHI4_DEADLINE_SECONDS", 600),
        allowed_hosts=_list(environ, "PHI4_ALLOWED_HOSTS", name_of, "host names or addresses, without ports"),
        cors_origins=_list(environ, "PHI4_CORS_ORIGINS", origin_of, "origins such as https://chat.example:3000"),
        metrics=_switch(environ, "PHI4_METRICS", True),
        prefix_cache=_switch(environ, "PHI4_PREFIX_CACHE", True),
        repacked=_path(environ, "PHI4_REPACKED"),
        key_usage=_path(environ, "PHI4_KEY_USAGE"),
    )


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    (low, high), text = BOUNDS[name], environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be a whole number from {low} to {high}")
    return int(text)


def _name(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name, "").strip() or default
    if len(text) > 128 or not text.isprintable():
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be at most 128 printable characters")
    return text


def _address(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name, "").strip() or default
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ConfigurationError(
            f"{name} is {text[:40]!r}: it must be an IPv4 or IPv6 address of this host, 127.0.0.1 for loopback only"
        ) from None


def _switch(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "").strip()
    if text not in ("", "on", "off"):
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be on or off")
    return text == "on" if text else default


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name, "").strip()
    if text and not text.startswith("/"):
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be an absolute path")
    return Path(text) if text else None


def _list(environ: Mapping[str, str], name: str, read: Callable[[str], str | None], wanted: str) -> tuple[str, ...]:
    words = [word.strip() for word in environ.get(name, "").split(",") if word.strip()]
    found = [read(word) for word in words]
    for word, one in zip(words, found, strict=True):
        if one is None:
            raise ConfigurationError(f"{name} has {word[:40]!r}: it must be {wanted}")
    if len(words) > _MOST_NAMES:
        raise ConfigurationError(f"{name} has {len(words)} entries: it must be at most {_MOST_NAMES}")
    return tuple(one for one in found if one)
