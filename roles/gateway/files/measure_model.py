"""The models of Ollama's store, as its manifests say: where each one's weights are, what it is told, its context.

Python 3.8, standard library. Only models are known that are rendered with our own chat template.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, NamedTuple, Optional

from measure_prompt import TEMPLATE

_MEDIA = "application/vnd.ollama.image."
_PARTS = ("model", "template", "system", "params", "license")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_NAME = re.compile(
    r"(?:(?:([a-z0-9][a-z0-9_.:-]{0,99})/)?([a-z0-9_][a-z0-9_-]{0,79})/)?([a-z0-9_][a-z0-9_.-]{0,79})(?::([a-z0-9_.-]{1,80}))?",
    re.ASCII,
)
_HOST, _SPACE, _TAG = "registry.ollama.ai", "library", "latest"
_SMALL = 64 << 10


class Model(NamedTuple):
    """One model. `weights`: the path of its GGUF file. `context`: tokens that it is given, 0 where it does not say."""

    weights: str
    system: str
    context: int


def find(store: str, name: Any) -> Optional[Model]:
    """The model that Ollama serves under a name; None where there is none, or what it is told is not known.

    Raises OSError or ValueError for a store that cannot be read.
    """
    found = _NAME.fullmatch(name.lower()) if isinstance(name, str) else None
    if not found:
        return None
    host, space, model, tag = found.groups()
    place = (host or _HOST, space or _SPACE, model, tag or _TAG)
    path = os.path.join(store, "manifests", *place)
    if ".." in place or not os.path.isfile(path):
        return None
    manifest = _document(path)
    layers = {str(layer.get("mediaType")): _blob(store, layer) for layer in manifest.get("layers") or []}
    known = {_MEDIA + part for part in _PARTS}
    config = _document(_blob(store, manifest.get("config") or {}))
    if set(layers) - known or config.get("renderer") or _MEDIA + "model" not in layers:
        return None
    if os.path.basename(layers.get(_MEDIA + "template", "")) != TEMPLATE.replace(":", "-"):
        return None
    system, params = layers.get(_MEDIA + "system"), layers.get(_MEDIA + "params")
    asked = _document(params).get("num_ctx") if params else None
    context = asked if isinstance(asked, int) and asked > 0 else 0
    return Model(layers[_MEDIA + "model"], _small(system).decode("utf-8", "replace") if system else "", context)


def _blob(store: str, layer: Dict[str, Any]) -> str:
    found = _DIGEST.fullmatch(str(layer.get("digest")))
    if not found:
        raise ValueError("found the layer %.80r, needed one with its SHA-256" % layer.get("digest"))
    return os.path.join(store, "blobs", "sha256-" + found.group(1))


def _small(path: str) -> bytes:
    with open(path, "rb") as stream:
        found = stream.read(_SMALL + 1)
    if len(found) > _SMALL:
        raise ValueError("%s: found more than %d bytes, needed at most as many" % (path, _SMALL))
    return found


def _document(path: str) -> Dict[str, Any]:
    found = json.loads(_small(path).decode("utf-8", "replace"))
    if not isinstance(found, dict):
        raise ValueError("%s: found no JSON object, needed one" % path)
    return found
