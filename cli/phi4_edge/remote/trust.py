"""What a host is told of keys and signatures: the keys, what was signed, and what a plan is going to bring."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi4_edge.core import signed
from phi4_edge.errors import ArtifactError


def wanted(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """Digests of what the plan brings, by kind; of wheels their runtime's id."""
    runtime, model = plan.get("runtime") or {}, plan.get("model") or {}
    archive = runtime.get("digest") if runtime.get("artifact") else None  # else it is that of our own files
    images = [plan.get("image"), (plan.get("webui") or {}).get("image")]
    return {
        "artifacts": [str(one) for one in (model.get("digest"), archive) if one],
        "images": [str(image["digest"]) for image in images if image and image.get("digest")],
        "wheelhouses": [str(runtime["id"])] if runtime.get("id") and not runtime.get("artifact") else [],
    }


def kept(store: Path) -> list[dict[str, str]]:
    """What was signed for each site that this controller serves, out of its store; none where nothing was.

    Raises ArtifactError for a file that is damaged.
    """
    path = store / signed.NAME
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        raw = stream.read(signed.MOST + 1)
    if len(raw) > signed.MOST:
        raise ArtifactError(
            f"{path} is longer than {signed.MOST} bytes: remove it, and provision again from the newest signed bundle"
        )
    return [{"site": site, **one} for site, one in signed.decode(raw.decode("utf-8", "replace"), str(path)).items()]


def named(keys: Mapping[Any, Any]) -> dict[str, str]:
    """Public keys in one line by name, as texts."""
    return {str(name): str(key) for name, key in keys.items()}


def unpacked(rotations: str) -> str:
    """The document of rotations out of its base64. Raises ArtifactError for what is none."""
    try:
        return base64.b64decode(rotations, validate=True).decode("latin-1")
    except (binascii.Error, ValueError) as error:
        raise ArtifactError(
            "found rotations of keys that are no base64, needed those of 'phi4-edge trust push'"
        ) from error
