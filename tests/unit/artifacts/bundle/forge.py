"""Makes bundles that nobody of ours wrote: every hash in them is right again after whatever was changed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle.manifest import NAME, SBOM
from tests.unit.artifacts.convert.test_wheelhouse import ID


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def text(document: object) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


class Forge:
    """A good bundle taken apart: its manifest as `document`, every file's bytes by SHA-256."""

    def __init__(self, good: Path) -> None:
        self.raw = good.read_bytes()
        with good.open("rb") as stream:
            contents = bundle_format.read_contents(stream, "good")
            places = dict(bundle_format.walk(stream, contents, "good"))
        self.document: dict[str, Any] = json.loads(contents.encode())
        self.blobs = {e.sha256: self.raw[places[e.sha256] : places[e.sha256] + e.size] for e in contents.files}
        self.blobs |= {sha(b""): b""}

    def copy(self) -> Forge:
        return copy.deepcopy(self)

    def digest(self, kind: str) -> str:
        """Name of a folder: that of the model, the release, the wheelhouse, or the first image."""
        artifacts = self.document["artifacts"]
        match kind:
            case "model":
                return str(artifacts["tiny/gguf-q4_0"])
            case "release":
                return str(next(digest for name, digest in artifacts.items() if name.startswith("ollama/")))
            case "image":
                return str(self.document["images"][self.key]["digest"])[7:]
        return ID

    @property
    def key(self) -> str:
        return min(self.document["images"])

    def folder(self, kind: str) -> str:
        shelf = {"model": "artifacts", "release": "artifacts", "image": "images"}.get(kind, "wheelhouses")
        return f"{shelf}/{self.digest(kind)}"

    def line(self, path: str) -> dict[str, Any]:
        return next(line for line in self.document["files"] if line["path"] == path)

    def read(self, path: str) -> bytes:
        return self.blobs[self.line(path)["sha256"]]

    def put(self, path: str, data: bytes) -> None:
        """The bundle holds `data` as `path`, and says so."""
        self.drop(path)
        self.blobs[sha(data)] = data
        self.document["files"].append({"path": path, "size": len(data), "sha256": sha(data)})

    def drop(self, path: str) -> None:
        self.document["files"] = [line for line in self.document["files"] if line["path"] != path]

    def rename(self, old: str, new: str) -> None:
        self.line(old)["path"] = new

    def edit(self, folder: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """The manifest.json of a folder, changed; its own digest is made right again, its folder's name is not."""
        path = f"{folder}/{NAME}"
        held = json.loads(self.read(path))
        change(held)
        self.put(path, (json.dumps(held, indent=2, sort_keys=True) + "\n").encode())

    def relist(self, folder: str, extra: dict[str, Any] | None = None) -> None:
        """The manifest.json of a folder lists what the bundle has in it."""
        inside = [line for line in self.document["files"] if line["path"].startswith(f"{folder}/")]
        lines = [{**line, "path": line["path"][len(folder) + 1 :]} for line in inside]
        lines = sorted((one for one in lines if one["path"] != NAME), key=lambda one: str(one["path"]))

        def change(held: dict[str, Any]) -> None:
            modes = {one["path"]: one.get("mode") for one in held["files"]}
            held["files"] = [
                {**one, **({"mode": modes[one["path"]]} if modes.get(one["path"]) else {})} for one in lines
            ]
            held["size"] = sum(one["size"] for one in lines)
            held.update(extra or {})
            held["digest"] = tree_digest(held)

        self.edit(folder, change)

    def rehouse(self, kind: str, name: str) -> None:
        """The artifact's folder is named after what it holds now."""
        old = self.folder(kind)
        digest = json.loads(self.read(f"{old}/{NAME}"))["digest"]
        for line in self.document["files"]:
            if line["path"].startswith(f"{old}/"):
                line["path"] = f"artifacts/{digest}/" + line["path"][len(old) + 1 :]
        self.document["artifacts"][name] = digest

    def manifest(self, document: object = None) -> bytes:
        """The bytes of manifest.json, in the one spelling and with the right digest."""
        whole = dict(self.document if document is None else document)  # type: ignore[call-overload]
        whole.pop("digest", None)
        whole["files"] = sorted(
            whole["files"], key=lambda one: (str(one["path"]), str(one["size"]), str(one["sha256"]))
        )
        return text({**whole, "digest": sha(text(whole))})

    def tar(self, raw: bytes | None = None, header: Callable[[str, int], bytes] = bundle_format.header) -> bytes:
        """The whole file around the manifest `raw`, which is that of the document unless another one is given."""
        first = self.manifest() if raw is None else raw
        out = header(NAME, len(first)) + first + bundle_format.padding(len(first))
        for member, data in self.members():
            out += header(member, len(data)) + data + bundle_format.padding(len(data))
        return out + bundle_format.ending(len(out))

    def members(self) -> list[tuple[str, bytes]]:
        hashes = sorted({str(line["sha256"]) for line in self.document["files"] if line["path"] != SBOM})
        bills = [(SBOM, self.blobs[str(line["sha256"])]) for line in self.document["files"] if line["path"] == SBOM]
        return [*bills, *((f"blobs/{one}", self.blobs.get(one, b"")) for one in hashes)]


def tree_digest(held: dict[str, Any]) -> str:
    """The digest that a manifest.json has to name, from what it lists."""
    lines = [f"{one['sha256']}  {one['path']}\n" for one in held["files"]]
    lines += [f"{one['mode']}  {one['path']}\n" for one in held["files"] if one.get("mode", "0644") != "0644"]
    lines += [f"-> {one['target']}  {one['path']}\n" for one in held.get("links", [])]
    return sha("".join(sorted(lines)).encode())
