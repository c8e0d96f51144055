"""What a converted artifact says of what it was made from, and whether it was made from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store

# What is kept of a source's own origin.
_KEPT = ("kind", "repo", "revision", "path", "seed")


def of(source: Manifest) -> dict[str, Any]:
    """The `source` of the manifest of something that is made from the artifact `source`."""
    kept = {key: source.source[key] for key in _KEPT if key in source.source}
    return {**kept, "artifact": source.artifact, "digest": source.digest}


def held(store: Store, target: str, source: Manifest, parameters: Mapping[str, Any]) -> str | None:
    """Digest of `target` when the store has it whole, made from `source` in the way that `parameters` describe."""
    if target not in store.digests() or store.damage(target):
        return None
    found = store.manifest(target)
    same = found.source.get("digest") == source.digest and dict(found.parameters) == dict(parameters)
    return found.digest if same else None
