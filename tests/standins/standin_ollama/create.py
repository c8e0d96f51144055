"""`/api/create`: a model from a GGUF blob or from another model (server/create.go).

Progress comes as dicts; an error is a dict with `error` and, where it is not 500, `status`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from . import gguf, names, store
from .templates import TemplateError, check

Json = dict[str, Any]
FIELDS = {
    "model": str, "name": str, "stream": bool, "quantize": str, "quantization": str, "from": str, "files": dict,
    "adapters": dict, "template": str, "system": str, "parameters": dict, "messages": list, "renderer": str,
    "parser": str, "requires": str, "info": dict,
}  # fmt: skip


class RefusedError(Exception):
    """The request cannot be done; `status` is the HTTP status where nothing was sent yet."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


def precheck(request: Json) -> names.Name:
    """The name of the model to make. Raises RefusedError for what Ollama refuses before it answers anything."""
    for path, digest in request.get("files", {}).items():
        if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
            raise RefusedError("file path must be relative", 400)
        if not digest:
            raise RefusedError("invalid digest format", 400)
    name = names.parse(request.get("model") or request.get("name") or "")
    if not name.valid():
        raise RefusedError("invalid model name", 400)
    found = store.read_manifest(name)
    return found["name"] if found else name


def create(request: Json, name: names.Name) -> Iterator[Json]:
    """Make the model and say how it goes."""
    try:
        if request.get("from"):
            layers, config = base(names.parse(request["from"]))
        elif "files" in request:
            layers, config = yield from imported(request)
        else:
            raise RefusedError("neither 'from' or 'files' was specified", 400)
        layers = dressed(request, layers)
        for layer in layers:
            if "status" in layer:
                yield {"status": layer["status"]}
        yield {"status": "writing manifest"}
        config_layer = store.add([encoded(config)], store.CONFIG)
        store.write_manifest(name, config_layer, layers)
    except (RefusedError, gguf.GgufError, TemplateError, ValueError, OSError) as error:
        yield {"error": said(error), "status": getattr(error, "status", 500)}
        return
    yield {"status": "success"}


def said(error: Exception) -> str:
    """An error in Go's words where it came from the system."""
    if isinstance(error, OSError) and error.filename:
        return f"open {error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


def encoded(document: Any) -> bytes:
    return (json.dumps(document, separators=(",", ":")) + "\n").encode()


def base(name: names.Name) -> tuple[store.Layers, Json]:
    """Layers and configuration of a model that is there. A pull, as Ollama would try, needs its registry."""
    if not name.valid():
        raise RefusedError("invalid model name", 400)
    manifest = store.read_manifest(name)
    if manifest is None:
        raise RefusedError(pull_error(name))
    layers = [store.existing(one["digest"], one["mediaType"], name.short()) for one in manifest["layers"]]
    return layers, json.loads(store.blob(manifest["config"]["digest"]).read_text())


def pull_error(name: names.Name) -> str:
    """What a pull says on a host that does not reach the registry."""
    url = f"https://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
    return f'pull model manifest: Get "{url}": dial tcp: lookup {name.host}: no such host'


def imported(request: Json) -> Generator[Json, None, tuple[store.Layers, Json]]:
    """Layers and configuration of one GGUF file, validated by a copy as llama-quantize makes it."""
    files = request["files"]
    if not files:
        raise RefusedError("unknown type", 400)
    if len(files) > 1:
        raise RefusedError("the stand-in takes one GGUF file", 400)
    origin, digest = next(iter(files.items()))
    path = store.blob(digest)
    if not origin.endswith(".gguf") and (not path.is_file() or path.read_bytes()[:4] != b"GGUF"):
        raise RefusedError("unknown type", 400)
    yield {"status": "parsing GGUF"}
    with path.open("rb") as stream:
        found = gguf.Gguf(stream)
        layer = store.existing(digest, store.MEDIA + "model", origin)
        quantize(request, found)
        yield {"status": "validating GGUF model", "digest": "0000000000000000000", "total": layer["size"]}
        copied = rewritten(stream, found)
    yield {"status": "verifying conversion"}
    config = {
        "model_format": "gguf", "model_family": found.kv["general.architecture"],
        "model_families": [found.kv["general.architecture"]], "model_type": gguf.human(found.parameters()),
        "file_type": found.file_type, "architecture": "amd64", "os": "linux",
    }  # fmt: skip
    return [copied], config


def quantize(request: Json, found: gguf.Gguf) -> None:
    """Raises RefusedError for a quantization that Ollama cannot make, or that needs another source."""
    wanted = (request.get("quantize") or request.get("quantization") or "").upper()
    if not wanted:
        return
    if wanted not in (*gguf.QUANTIZE, "Q4_K", "BF16"):
        raise RefusedError(f"unsupported quantization type {wanted} - supported types are {', '.join(gguf.QUANTIZE)}")
    if found.file_type not in ("F16", "BF16", "F32"):
        raise RefusedError("quantization is only supported for F16, BF16 and F32 models")
    if found.file_type != wanted:
        raise RefusedError("the stand-in quantizes nothing")


def rewritten(stream: Any, found: gguf.Gguf) -> store.Layer:
    """The layer that is served: a copy beside the blob, then a second one that is hashed, as Ollama writes them."""
    tool = beside("llama-quantize")
    if not os.access(tool, os.X_OK):
        raise RefusedError(
            "failed to validate GGUF with llama-quantize without compatibility patches: llama-quantize unavailable: "
            f"{tool} not found"
        )
    handle, name = tempfile.mkstemp(prefix="COPY", dir=store.folder())
    try:
        with os.fdopen(handle, "w+b") as copy:
            gguf.copy(stream, copy, found)
            copy.seek(0)
            return store.add(store.blocks(copy), store.MEDIA + "model")
    finally:
        Path(name).unlink()


def beside(tool: str) -> Path:
    """Where a program of the release lies: lib/ollama beside the bin/ that holds this one."""
    return Path(os.path.realpath(sys.argv[0])).parents[1] / "lib" / "ollama" / tool


def dressed(request: Json, layers: store.Layers) -> store.Layers:
    """The layers with template, system prompt, parameters and messages of the request over those of the base."""
    kinds = {"template": "template", "system": "system"}
    for field, kind in kinds.items():
        if request.get(field):
            if field == "template":
                check(request[field])
            layers = [one for one in layers if one["mediaType"] != store.MEDIA + kind]
            layers.append(store.add([request[field].encode()], store.MEDIA + kind))
    parameters = dict(request.get("parameters") or {})
    for layer in layers:
        if layer["mediaType"] == store.MEDIA + "params":
            parameters = {**json.loads(store.blob(layer["digest"]).read_text()), **parameters}
    if parameters:
        layers = [one for one in layers if one["mediaType"] != store.MEDIA + "params"]
        layers.append(store.add([encoded(dict(sorted(parameters.items())))], store.MEDIA + "params"))
    if request.get("messages"):
        layers = [one for one in layers if one["mediaType"] != store.MEDIA + "messages"]
        layers.append(store.add([encoded(request["messages"])], store.MEDIA + "messages"))
    return layers
