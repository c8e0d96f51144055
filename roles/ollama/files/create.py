"""Host side of Ollama's store: made once, by Ollama itself from the model that was pushed, then only read.

The store is built under another name while a server of its own runs, verified, and renamed when it is whole.
"""

from __future__ import annotations

import json
import os
from typing import Iterator

from hostlib import (
    RECORD_FORMAT,
    HostError,
    Json,
    damaged,
    entry,
    free_bytes,
    fsync_directory,
    lines_of,
    own_directory,
    read_bytes,
    read_json,
    read_record,
    regular_files,
    remove_tree,
    sha256_file,
    stamp,
    write_json,
)
from hostrun import serve
from ollamaapi import Api
from ollamaserve import clear, start, stop

MODEL_LAYER = "application/vnd.ollama.image.model"
GGUF = "model.gguf"
# What Ollama writes besides: manifests, templates, parameters.
SMALL = 16 << 20


def inspect(args: Json, _payload: bytes) -> Json:
    """Whether the store is there, whole, and made from the same model by the same requests. Changes nothing."""
    document = read_json(args["store"] + ".json")
    made = document.get("made") if isinstance(document, dict) else None
    record = lines_of(document) if isinstance(document, dict) else {}
    bad = damaged(args["store"], record)
    extra = [name for name in regular_files(args["store"]) if name not in record]
    complete = bool(record) and made == args["made"] and not bad and not extra
    return {"complete": complete, "damaged": bad, "models": document.get("models", {}) if complete else {}}


def create(args: Json, _payload: bytes) -> Json:
    """The store holds the planned models and nothing else, belongs to root, and is recorded."""
    fresh = os.path.join(args["staging"], "store-" + os.path.basename(args["store"]))
    clear(fresh)
    gguf = "" if args["library"] else model_digest(args)
    said: list[str] = []
    try:
        prepare(args, fresh)
        linked = bool(gguf) and link(args, fresh, gguf)
        enough(args, linked)
        api = start(args, fresh)
        models = build(args, api, gguf, said)
        stop()
        settle(fresh, keep=used(fresh))
        check_layer(args, fresh)
        restore(args)
        place(args, fresh, gguf, models)
    finally:
        clear(fresh)
        restore(args)
    shared = linked and os.path.exists(os.path.join(args["store"], "blobs", "sha256-" + gguf))
    told = [line for line in dict.fromkeys(said) if "layer sha256:" not in line]
    return {"changed": True, "models": models, "said": told, "shares_the_pushed_file": shared}


def model_digest(args: Json) -> str:
    """SHA-256 of the pushed model, from its record where that still holds."""
    path = os.path.join(args["model"], GGUF)
    if not os.path.isfile(path):
        raise HostError(f"found no {path}, needed the model there: run the same command again")
    return str(entry(path, GGUF, read_record(args["model"]).get(GGUF))["sha256"])


def prepare(args: Json, fresh: str) -> None:
    """An empty store that its server, whose user nobody knows before, may write, and nobody else gets through to."""
    own_directory(args["staging"], 0o700)
    for path in (fresh, os.path.join(fresh, "blobs"), os.path.join(fresh, "manifests")):
        os.mkdir(path)
        os.chmod(path, 0o777)  # noqa: S103 - below a directory that is closed to all


def link(args: Json, fresh: str, gguf: str) -> bool:
    """True when the pushed file itself is the store's blob; on another file system it is sent instead."""
    try:
        os.link(os.path.join(args["model"], GGUF), os.path.join(fresh, "blobs", "sha256-" + gguf))
    except OSError:
        return False
    return True


def enough(args: Json, linked: bool) -> None:
    """Raises HostError when the disk has too little room: Ollama writes a model that it is given twice, to check it."""
    if args["library"]:
        return
    size = os.path.getsize(os.path.join(args["model"], GGUF))
    need, free = size * (2 if linked else 3) + SMALL, free_bytes(args["staging"])
    if free < need:
        raise HostError(
            f"not enough disk to make Ollama's store: found {free} bytes free at {args['staging']}, needed {need} "
            f"while it is made, and at most {size + SMALL} afterwards: free some space on the host"
        )


def build(args: Json, api: Api, gguf: str, said: list[str]) -> dict[str, str]:
    """Digest of every model by name, made and listed. `said`: what Ollama said, without its repetitions."""
    if gguf and not api.has_blob("sha256:" + gguf):
        api.send_blob("sha256:" + gguf, os.path.join(args["model"], GGUF))
    if args["library"]:
        api.make("/api/pull", {"model": args["library"]["name"]}, said.append)
    for request in args["requests"]:
        files = {"files": {GGUF: "sha256:" + gguf}} if gguf and "from" not in request else {}
        api.make("/api/create", {**request, **files}, said.append)
    found = api.digests()
    names = [request["model"] for request in args["requests"]]
    missing = [name for name in names if tagged(name) not in found]
    if missing:
        raise HostError(f"Ollama made {', '.join(names)} but lists no {', '.join(missing)}: it lists {sorted(found)}")
    first = args["requests"][0]
    if first.get("template") and api.template(first["model"]) != first["template"]:
        raise HostError(f"Ollama made {first['model']} with another chat template than the one that it was given")
    return {name: found[tagged(name)] for name in names}


def tagged(name: str) -> str:
    """The name as Ollama lists it."""
    return name if ":" in name.rpartition("/")[2] else name + ":latest"


def manifests(fresh: str) -> Iterator[Json]:
    """Every manifest of the store. Raises HostError for one that cannot be read."""
    for name in regular_files(os.path.join(fresh, "manifests")):
        try:
            yield json.loads(read_bytes(os.path.join(fresh, "manifests", name)) or b"")
        except ValueError:
            raise HostError(f"Ollama wrote the manifest {name} that is no JSON") from None


def used(fresh: str) -> set[str]:
    """Names of the blobs that some model is made of."""
    layers = [layer for one in manifests(fresh) for layer in [*one["layers"], one["config"]]]
    return {str(layer["digest"]).replace(":", "-") for layer in layers}


def settle(fresh: str, keep: set[str]) -> None:
    """Only what models are made of is left; it belongs to root, and everybody may read it.

    A model that Ollama copied while it checked it need not be the file that it was given, which is then in no use.
    """
    blobs = os.path.join(fresh, "blobs")
    for name in os.listdir(blobs):
        if name not in keep:
            remove_tree(os.path.join(blobs, name))
    lost = [name for name in sorted(keep) if not os.path.isfile(os.path.join(blobs, name))]
    if lost:
        raise HostError(f"Ollama's store lacks {', '.join(lost)}, which its manifests name: run the same command again")
    for folder, _folders, names in os.walk(fresh):
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o755)  # noqa: S103 - the service's user reads it
        for name in names:
            os.chown(os.path.join(folder, name), 0, 0)
            os.chmod(os.path.join(folder, name), 0o644)


def restore(args: Json) -> None:
    """The pushed file has the time again under which it was verified: Ollama touches every blob that it uses."""
    path = os.path.join(args["model"], GGUF)
    if args["library"]:
        return
    known = read_record(args["model"]).get(GGUF, {}).get("stamp")
    now = stamp(os.lstat(path))
    if known and [known[0], known[2]] == [now[0], now[2]]:
        os.utime(path, ns=(known[1], known[1]))


def check_layer(args: Json, fresh: str) -> None:
    """Raises HostError when a pulled model is not the one whose digest was planned."""
    if not args["library"]:
        return
    found = {
        layer["digest"] for one in manifests(fresh) for layer in one["layers"] if layer["mediaType"] == MODEL_LAYER
    }
    wanted = args["library"]["digest"]
    if len(found) != 1 or not next(iter(found)).startswith(wanted):
        raise HostError(
            f"Ollama's library gave the model {', '.join(sorted(found))}, needed {wanted}: nothing was kept"
        )


def place(args: Json, fresh: str, gguf: str, models: dict[str, str]) -> None:
    """The store is in place and recorded. A file that was verified when it was pushed is not read again."""
    known = read_record(args["model"]).get(GGUF, {}).get("stamp") if gguf else None
    parent = os.path.dirname(args["store"])
    own_directory(parent, 0o755)
    os.sync()
    remove_tree(args["store"] + ".json")
    remove_tree(args["store"])
    os.rename(fresh, args["store"])
    fsync_directory(parent)
    files = []
    for name in regular_files(args["store"]):
        path = os.path.join(args["store"], name)
        same = os.path.basename(name) == "sha256-" + gguf and stamp(os.lstat(path)) == known
        digest = gguf if same else sha256_file(path)
        if os.path.dirname(name) == "blobs" and os.path.basename(name) != "sha256-" + digest:
            raise HostError(f"{path} reads back with the sha256 {digest}: check the host's disk and memory")
        files.append(entry(path, name, {"stamp": stamp(os.lstat(path)), "sha256": digest}))
    document = {"format": RECORD_FORMAT, "files": files, "made": args["made"], "made_from": gguf, "models": models}
    write_json(args["store"] + ".json", document)


if __name__ == "__main__":
    serve(globals(), {"inspect": inspect, "create": create})
