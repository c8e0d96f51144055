"""What the gate asks of Ollama alone: these weights and no others, loaded, and where the plan wants them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

from gatehttp import Pauses, StepError, ask, same
from hostlib import Json, link_target, read_bytes, read_json, read_record
from hostrun import clean
from hostunit import LOAD, shown

WEIGHTS = "application/vnd.ollama.image.model"
# Of a model that is on the GPU: input buffers may stay with the CPU.
SHARE = 0.9


def stored(args: Json) -> None:
    """The server has the planned model, from this release's store, with the weights that were delivered."""
    tag = entry_of(args, "/api/tags", "model")
    release = os.path.join(args["releases"], args["release"])
    manifest = read_bytes(os.path.join(release, "store", "manifests", manifest_of(args["model"])), 1 << 20)
    if manifest is None:
        raise StepError("model", f"found no manifest of {args['model']} in the release's store, needed one")
    digest = hashlib.sha256(manifest).hexdigest()
    if str(tag.get("digest", "")).replace("sha256:", "") != digest:
        found = clean(str(tag.get("digest")), 80)
        raise StepError("model", f"found {args['model']} with digest {found}, needed {digest} of this release's store")
    delivered_as(release, weights_of(manifest))


def delivered_as(release: str, weights: set[str]) -> None:
    """The weights are in the store's record, and that store was made from the model that was delivered.

    Ollama copies a model through its own tools when it is given one: its weights need not be the same bytes.
    """
    store, model = (link_target(os.path.join(release, name)) for name in ("store", "model"))
    known = {f"sha256:{line.get('sha256')}" for line in read_record(store or "").values()}
    if not weights or not weights <= known:
        raise StepError(
            "model", f"found other weights than the store was made with: {clean(str(sorted(weights)), 300)}"
        )
    document = read_json((store or "") + ".json")
    made_from = document.get("made_from") if isinstance(document, dict) else None
    delivered = {line.get("sha256") for line in read_record(model or "").values()}
    if delivered and made_from not in delivered:
        raise StepError(
            "model", f"found a store that was made from {clean(str(made_from), 80)}, not from the model here"
        )


def manifest_of(model: str) -> str:
    """Path of a model's manifest below a store's manifests; names without host, namespace or tag mean the library's."""
    path, _, tag = model.partition(":")
    parts = path.split("/")
    parts = [*["registry.ollama.ai", "library"][: max(0, 3 - len(parts))], *parts]
    return "/".join([*parts, tag or "latest"])


def weights_of(manifest: bytes) -> set[str]:
    """Digests of the weights that a manifest names."""
    try:
        layers = json.loads(manifest)["layers"]
        return {str(layer["digest"]) for layer in layers if layer.get("mediaType") == WEIGHTS}
    except (ValueError, LookupError, TypeError, AttributeError):
        return set()


def keeper(args: Json, end: float) -> None:
    """What has the model loaded after the next start runs; a release that an older version made has none.

    On a busy host systemd may still be starting it. What was started over twice fails again.
    """
    installed = os.path.join(args["releases"], args["release"], LOAD)
    if args["rehearsal"] or not os.path.exists(installed):
        return
    pauses = Pauses()
    while True:
        state = shown(LOAD, "ActiveState,NRestarts,Job")
        found, restarts = state.get("ActiveState"), state.get("NRestarts", "0")
        if found == "active":
            return
        starting = found == "activating" or (found == "inactive" and state.get("Job"))
        if not starting or restarts not in ("0", "1", "") or time.monotonic() > end:
            raise StepError("load", f"found {LOAD} {found}, needed it active; look at: journalctl -u {LOAD}")
        pauses.rest()


def load(args: Json, end: float) -> None:
    """The model is in memory. Reading it from a slow card takes longer than any answer may."""
    body = {"model": args["model"], "keep_alive": -1, "stream": False}
    try:
        status, report = ask(args, "POST", "/api/generate", body, max(30.0, end - time.monotonic()))
    except (OSError, ValueError) as error:
        raise StepError("load", f"the model was not loaded: {error}") from None
    if status != 200:
        raise StepError("load", f"the model was not loaded: status {status}, {clean(json.dumps(report), 500)}")


def resident(args: Json) -> None:
    """The model lies in the GPU's memory where the plan wants a GPU, and nowhere near one where it does not."""
    running = entry_of(args, "/api/ps", "residency")
    try:
        size, on_gpu = int(running["size"]), int(running["size_vram"])
    except (LookupError, TypeError, ValueError):
        raise StepError("residency", f"/api/ps says nothing of sizes: {clean(json.dumps(running), 300)}") from None
    if args["gpu"] and on_gpu < SHARE * size:
        what = "fell back to the CPU" if on_gpu == 0 else "is partly on the CPU"
        raise StepError("residency", f"the model {what}: {on_gpu} of {size} bytes are on the GPU that the plan wants")
    if not args["gpu"] and on_gpu:
        raise StepError("residency", f"found {on_gpu} bytes of the model on a GPU, the plan wants it on the CPU")


def entry_of(args: Json, path: str, step: str) -> dict[str, Any]:
    """What Ollama lists about the planned model under `path`."""
    try:
        status, report = ask(args, "GET", path)
        models = [model for model in report["models"] if isinstance(model, dict)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(step, f"{path} has no list of models: {error}") from None
    found = [model for model in models if same(str(model.get("name")), args["model"])]
    if status != 200 or not found:
        names = clean(str([model.get("name") for model in models]), 200)
        raise StepError(step, f"found the models {names} under {path}, needed {args['model']!r}")
    return found[0]
