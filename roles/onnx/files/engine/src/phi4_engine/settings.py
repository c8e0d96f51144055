"""The environment of the process, read once, checked, frozen."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi4_engine.errors import ConfigurationError
from phi4_engine.hosts import name_of

_MAX_CONTEXT = 131_072
"""Phi-4-mini's max_position_embeddings (config.json of microsoft/Phi-4-mini-instruct)."""
_MOST_HOSTS = 32


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
    allowed_hosts: tuple[str, ...]
    prefix_cache: bool
    """Whether what was read for one prompt is used again for another one that begins with the same tokens."""

    @property
    def stall_seconds(self) -> float:
        """Silence after which a busy worker counts as hung.

        One unit of its work is at most a prefill chunk. Past 4,096 tokens LongRoPE switches and the runtime computes
        the whole sequence again in one call, so a longer context is given a second for every 4 tokens more.
        """
        return 120.0 + max(0, self.context_length - 4096) / 4


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the variables PHI4_*; raises ConfigurationError with the variable, its value and what it may be."""
    model_dir = environ.get("PHI4_MODEL_DIR", "").strip()
    if not model_dir:
        raise ConfigurationError("PHI4_MODEL_DIR is not set: it must name the directory of the ONNX model")
    context = _number(environ, "PHI4_CONTEXT_LENGTH", 4096, 16, _MAX_CONTEXT)
    return Settings(
        model_dir=Path(model_dir),
        model_name=_name(environ, "PHI4_MODEL_NAME", "phi-4-mini-instruct"),
        bind=_address(environ, "PHI4_BIND", "127.0.0.1"),
        port=_number(environ, "PHI4_PORT", 8080, 1, 65_535),
        context_length=context,
        threads=_number(environ, "PHI4_THREADS", _usable_cpus(), 1, 1024),
        parallel=_number(environ, "PHI4_PARALLEL", 1, 1, 64),
        queue=_number(environ, "PHI4_QUEUE", 8, 0, 4096),
        max_tokens=_number(environ, "PHI4_MAX_TOKENS", context, 1, _MAX_CONTEXT),
        release=_name(environ, "PHI4_RELEASE", "unreleased"),
        connections=_number(environ, "PHI4_CONNECTIONS", 256, 8, 4096),
        allowed_hosts=_hosts(environ, "PHI4_ALLOWED_HOSTS"),
        prefix_cache=_switch(environ, "PHI4_PREFIX_CACHE", True),
    )


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _number(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be a whole number from {low} to {high}")
    return int(text)


def _switch(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "").strip()
    if text not in ("", "on", "off"):
        raise ConfigurationError(f"{name} is {text[:40]!r}: it must be on or off")
    return text == "on" if text else default


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


def _hosts(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    words = [word.strip() for word in environ.get(name, "").split(",") if word.strip()]
    found = [name_of(word) for word in words]
    for word, host in zip(words, found, strict=True):
        if host is None:
            raise ConfigurationError(f"{name} has {word[:40]!r}: it must be host names or addresses, without ports")
    if len(words) > _MOST_HOSTS:
        raise ConfigurationError(f"{name} has {len(words)} names: it must be at most {_MOST_HOSTS}")
    return tuple(host for host in found if host)
