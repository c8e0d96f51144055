"""A store as Ollama makes it: manifests that name blobs, with the tiny model's weights and our chat template."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from phi4_edge import content

ROOT = Path(__file__).parents[2]
TINY = ROOT / "cli" / "phi4_edge" / "data" / "tiny" / "gguf-q4_0" / "model.gguf"
MEDIA = "application/vnd.ollama.image."
LIBRARY = ("registry.ollama.ai", "library")


def blob(store: Path, data: bytes) -> str:
    """The digest of a new blob."""
    digest = hashlib.sha256(data).hexdigest()
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(data)
    return f"sha256:{digest}"


def template() -> bytes:
    """Our chat template."""
    return (content.roles() / "ollama" / "templates" / "chat.gotmpl").read_bytes()


def model(
    store: Path, name: str, system: str = "", weights: Path | bytes = TINY, config: Any = None, **layers: bytes
) -> None:
    """The store has a model. `layers`: others, by the end of their media type; an empty one is left out."""
    if isinstance(weights, Path):
        digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
        (store / "blobs").mkdir(parents=True, exist_ok=True)
        place = store / "blobs" / digest.replace(":", "-")
        if not place.exists():
            place.symlink_to(weights)
    else:
        digest = blob(store, weights)
    parts = {"template": template(), "system": system.encode(), **layers}
    listed = [{"mediaType": MEDIA + kind, "digest": blob(store, data)} for kind, data in parts.items() if data]
    document = {
        "schemaVersion": 2,
        "config": {"digest": blob(store, json.dumps(config or {"model_format": "gguf"}).encode())},
        "layers": [{"mediaType": f"{MEDIA}model", "digest": digest}, *listed],
    }
    path = store.joinpath("manifests", *LIBRARY, name, "latest")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
