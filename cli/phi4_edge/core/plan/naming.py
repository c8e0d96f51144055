"""What a release is called: after all that is carried out on its host, and so not before its files are known.

Pure. Weights are converted, archives unpacked and images built on the controller, and nobody knows a digest of that
beforehand. A plan that is made earlier has no name of a release; it says what it waits for instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from phi4_edge.core.text import canonical

# What is carried out on the host, and nothing else: this is what the fingerprint is made of.
APPLIED = (
    *("engine", "quantization", "accelerator", "service_manager", "context_length", "parallel", "kv_cache_type"),
    *("bind", "port", "unit", "knobs", "model", "runtime", "image", "webui", "content"),
)
IMAGE_IDENTITY = ("repository", "tag", "architecture", "digest", "cuda")


def substance(plan: Mapping[str, Any]) -> str:
    """Return the digest of what a plan's document carries out, as far as it is known; of an image what it is."""
    plain = {name: plan[name] for name in APPLIED}
    plain["image"] = _identity(plain["image"])
    if plain["webui"] is not None:
        plain["webui"] = {**plain["webui"], "image": _identity(plain["webui"]["image"])}
    return hashlib.sha256(canonical(plain).encode()).hexdigest()


def _identity(image: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if image is None else {name: image[name] for name in IMAGE_IDENTITY}


def awaited(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what a plan's document brings and whose digest is not known yet."""
    return tuple(_awaited(plan))


def _awaited(plan: Mapping[str, Any]) -> Iterator[str]:
    model, runtime, page = plan["model"], plan["runtime"], plan["webui"]
    if model is not None and model["digest"] is None:
        yield str(model["artifact"])
    if runtime is not None and (runtime["digest"] is None or runtime["id"] is None):
        yield str(runtime["artifact"] or f"{plan['engine']} for Python {runtime['python']} on {runtime['arch']}")
    for image in (plan["image"], page["image"] if page is not None else None):
        if image is not None and image["digest"] is None:
            yield str(image["key"])


def fingerprint_of(plan: Mapping[str, Any]) -> str | None:
    """Return the digest of all that a plan's document carries out; None while something of it is awaited."""
    return None if awaited(plan) else substance(plan)


def release_of(fingerprint: str | None) -> str | None:
    """Return the name of the release with this fingerprint; None without one."""
    return f"r-{fingerprint[:12]}" if fingerprint else None
