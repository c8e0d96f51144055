"""Host side of Ollama's store: made once, by Ollama itself from the model that was pushed, then only read.

The store is built under another name while a server of its own runs, verified, and renamed when it is whole. It shares
the pushed file; where it cannot, that file goes, and the next store is made from this one.
"""

from __future__ import annotations

import json
import os
from typing import Iterator

import hostadmit
import hoststores
from hostlib import (
    RECORD_FORMAT,
    HostError,
    Json,
    damaged,
    entry,
    free_bytes,
    fsync_directory,
    given_up,
    inside,
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
    """Whether the store is there, whole, and made from the same model by the same requests. Changes nothing.

    `surplus`: bytes of the pushed file, where the store has the model in a file of its own.
    """
    document = read_json(args["store"] + ".json")
    made = document.get("made") if isinstance(document, dict) else None
    record = lines_of(document) if isinstance(document, dict) else {}
    bad = damaged(args["store"], record)
    extra = [name for name in regular_files(args["store"]) if name not in record]
    complete = bool(record) and made == args["made"] and not bad and not extra
    models = document.get("models", {}) if complete else {}
    return {"complete": complete, "damaged": bad, "models": models, "surplus": surplus(args) if complete else 0}


def create(args: Json, _payload: bytes) -> Json:
    """The store holds the planned models and nothing else, belongs to root, and is recorded."""
    hostadmit.guard(os.path.dirname(args["staging"]), lambda: sources(args))
    found = inspect(args, b"")
    if found["complete"]:
        freed = give_up(args)
        return {"changed": bool(freed), "models": found["models"], "said": [], "freed": freed}
    fresh = os.path.join(args["staging"], "store-" + os.path.basename(args["store"]))
    clear(fresh)
    gguf = {} if args["library"] else origin(args)
    said: list[str] = []
    try:
        prepare(args, fresh)
        enough(args, gguf, link(fresh, gguf))
        api = start(args, fresh)
        models = build(args, api, gguf, said)
        stop()
        settle(fresh, keep=used(fresh))
        check_layer(args, fresh)
        restore(gguf)
        place(args, fresh, gguf, models)
    finally:
        clear(fresh)
        restore(gguf)
    told = [line for line in dict.fromkeys(said) if "layer sha256:" not in line]
    return {"changed": True, "models": models, "said": told, "freed": give_up(args)}


def sources(args: Json) -> list[hostadmit.Part]:
    """What Ollama is, which is about to run, and what it is given; its library's models nobody signed."""
    image = ("images", str(args["image"]), "the image of Ollama")
    parts = [image] if args["image"] else hostadmit.engine(args["engine"])
    if args["library"]:
        return [*parts, ("artifacts", str(args["library"]["digest"]), "the model")]
    gguf = origin(args)
    kept = [] if gguf["sha256"] == gguf["pushed"] else [("weights", str(gguf["sha256"]), "the weights that are left")]
    return [*parts, ("artifacts", hostadmit.tree(args["model"]), "the model"), *kept]


def origin(args: Json) -> Json:
    """What the store is made from: the pushed file, or what an earlier store of it holds where that file went.

    {"path", "sha256" and "stamp" of what is there, "pushed": the sha256 of what was pushed}; an unchanged file is not
    read again.
    """
    path = os.path.join(args["model"], GGUF)
    known = read_record(args["model"]).get(GGUF, {})
    if given_up(path, known):
        kept, line = hoststores.holder(os.path.dirname(args["store"]), str(known.get("sha256")))
        if kept:
            return {"path": kept, "sha256": line["sha256"], "stamp": line["stamp"], "pushed": known["sha256"]}
    if not os.path.isfile(path):
        raise HostError(f"found no {path}, needed the model there: run the same command again")
    found = str(entry(path, GGUF, known)["sha256"])
    return {"path": path, "sha256": found, "stamp": known.get("stamp"), "pushed": found}


def prepare(args: Json, fresh: str) -> None:
    """An empty store that its server, whose user nobody knows before, may write, and nobody else gets through to."""
    own_directory(args["staging"], 0o700)
    for path in (fresh, os.path.join(fresh, "blobs"), os.path.join(fresh, "manifests")):
        os.mkdir(path)
        os.chmod(path, 0o777)  # noqa: S103 - below a directory that is closed to all


def link(fresh: str, gguf: Json) -> bool:
    """True when the file itself is the store's blob; on another file system it is sent instead."""
    try:
        os.link(gguf["path"], os.path.join(fresh, "blobs", "sha256-" + gguf["sha256"]))
    except (OSError, KeyError):  # nothing was pushed where the model comes from the library
        return False
    return True


def enough(args: Json, gguf: Json, linked: bool) -> None:
    """Raises HostError when the disk has too little room: Ollama writes a model that it is given twice, to check it."""
    if not gguf:
        return
    size = os.path.getsize(gguf["path"])
    need, free = size * (2 if linked else 3) + SMALL, free_bytes(args["staging"])
    if free < need:
        left = SMALL if linked else size + SMALL
        raise HostError(
            f"not enough disk to make Ollama's store: found {free} bytes free at {args['staging']}, needed {need} "
            f"while it is made, and at most {left} afterwards: free some space on the host"
        )


def build(args: Json, api: Api, gguf: Json, said: list[str]) -> dict[str, str]:
    """Digest of every model by name, made and listed. `said`: what Ollama said, without its repetitions."""
    digest = "sha256:" + str(gguf.get("sha256"))
    if gguf and not api.has_blob(digest):
        api.send_blob(digest, gguf["path"])
    if args["library"]:
        api.make("/api/pull", {"model": args["library"]["name"]}, said.append)
    for request in args["requests"]:
        files = {"files": {GGUF: digest}} if gguf and "from" not in request else {}
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


def restore(gguf: Json) -> None:
    """The file has the time again under which it was verified: Ollama touches every blob that it uses."""
    known = gguf.get("stamp")
    # A store that took the place of the one that it was made from has taken the file along.
    if known and os.path.lexists(gguf["path"]):
        now = stamp(os.lstat(gguf["path"]))
        if [known[0], known[2]] == [now[0], now[2]]:
            os.utime(gguf["path"], ns=(known[1], known[1]))


def weights(root: str) -> set[str]:
    """Digests of the weights that the models of a store have."""
    layers = [layer for one in manifests(root) for layer in one["layers"] if layer["mediaType"] == MODEL_LAYER]
    return {str(layer["digest"]) for layer in layers}


def check_layer(args: Json, fresh: str) -> None:
    """Raises HostError when a pulled model is not the one whose digest was planned."""
    if not args["library"]:
        return
    found, wanted = weights(fresh), args["library"]["digest"]
    if len(found) != 1 or not next(iter(found)).startswith(wanted):
        raise HostError(
            f"Ollama's library gave the model {', '.join(sorted(found))}, needed {wanted}: nothing was kept"
        )


def place(args: Json, fresh: str, gguf: Json, models: dict[str, str]) -> None:
    """The store is in place and recorded. A file that was verified when it was pushed is not read again."""
    held = sorted("blobs/" + digest.replace(":", "-") for digest in weights(fresh))
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
        same = bool(gguf) and os.path.basename(name) == "sha256-" + gguf["sha256"]
        same = same and stamp(os.lstat(path)) == gguf["stamp"]
        digest = gguf["sha256"] if same else sha256_file(path)
        if os.path.dirname(name) == "blobs" and os.path.basename(name) != "sha256-" + digest:
            raise HostError(f"{path} reads back with the sha256 {digest}: check the host's disk and memory")
        files.append(entry(path, name, {"stamp": stamp(os.lstat(path)), "sha256": digest}))
    made = {"made": args["made"], "made_from": gguf.get("pushed", ""), "models": models}
    # What another store can be made from when the pushed file is gone.
    only = {"weights": held[0]} if gguf and len(held) == 1 else {}
    write_json(args["store"] + ".json", {"format": RECORD_FORMAT, "files": files, **made, **only})


def surplus(args: Json) -> int:
    """Bytes of the pushed file where the store that was made from it has the model in another one; else 0."""
    document, path = read_json(args["store"] + ".json"), os.path.join(args["model"], GGUF)
    known = {} if args["library"] else read_record(args["model"]).get(GGUF, {})
    held = document.get("weights") if isinstance(document, dict) else None
    if not isinstance(held, str) or document.get("made_from") != known.get("sha256"):
        return 0
    try:
        pushed, kept = os.lstat(path), os.lstat(inside(args["store"], held))
    except OSError:
        return 0
    return 0 if (pushed.st_dev, pushed.st_ino) == (kept.st_dev, kept.st_ino) else pushed.st_size


def give_up(args: Json) -> int:
    """Bytes that were freed: the model is on this disk once. The record of the pushed file says so first, and stays."""
    freed = surplus(args)
    if freed:
        document = read_json(args["model"] + ".json")
        lines_of(document)[GGUF]["in_store"] = True
        write_json(args["model"] + ".json", document)
        os.unlink(os.path.join(args["model"], GGUF))
        fsync_directory(args["model"])
    return freed


if __name__ == "__main__":
    serve(globals(), {"inspect": inspect, "create": create})
