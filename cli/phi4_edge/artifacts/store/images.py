"""The container images in the store.

images/<manifest digest>/   one image as an OCI layout that `docker load` of every release takes as well
    manifest.json           ours: every other file with size and SHA-256
    oci-layout, index.json  the layout, naming one manifest
    docker-manifest.json    the archive's manifest.json as Docker before 25 reads it
    blobs/sha256/           manifest, configuration, layers
images.json                 what each key (`repository:tag/architecture`) was pinned to when it was resolved first
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import image_walk
from phi4_edge.core.image_reference import DIGEST, OURS, local_name
from phi4_edge.core.image_walk import BLOBS, Walked, blob_path
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/images/1"
INDEX = "images.json"


class Images:
    """Images by the digest of their manifest. Every public method leaves the store whole, also when it is killed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.root / "images"

    def index(self) -> dict[str, dict[str, Any]]:
        """Key → {digest, id (of the configuration), path, size (bytes), reference}; empty for a new store.

        `path` is empty for an image that was resolved but not fetched, because hosts get it from a registry. Raises
        ArtifactError for a file that cannot be read: what a tag was pinned to must not be lost silently.
        """
        path = self.store.root / INDEX
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        entries = document.get("images") if isinstance(document, dict) else None
        if not isinstance(entries, dict) or document.get("format") != FORMAT or not all(map(valid, entries.values())):
            raise _unreadable(path, f"not of format {FORMAT}")
        return entries

    def digests(self) -> dict[str, str]:
        """Key → digest that it is pinned to."""
        return {key: str(entry["digest"]) for key, entry in self.index().items()}

    def use(self, key: str) -> str | None:
        """Digest that `key` is pinned to, None where it is not; nobody prunes that image while the store lives."""
        digest = self.digests().get(key)
        if digest is not None:
            self.hold(digest)
        return digest

    def hold(self, digest: str) -> None:
        """Nobody prunes the image `digest`, there or not, while the store lives."""
        self.store.hold("images", digest.removeprefix("sha256:"))

    def path(self, digest: str) -> Path:
        """Folder of the image `digest`, there or not."""
        return self.folder / digest.removeprefix("sha256:")

    def pin(self, key: str, entry: Mapping[str, Any], replace: bool = False) -> None:
        """Remember what `key` was resolved to.

        Raises ArtifactError when it is pinned to something else, unless `replace` says that the new one is right.
        """
        with self.store.exclusive():
            entries = self.index()
            self._require_same(key, entries.get(key), "" if replace else str(entry["digest"]))
            if entries.get(key) != dict(entry):
                self._write({**entries, key: dict(entry)})

    def walk(self, digest: str, folder: Path | None = None) -> Walked:
        """The image `digest` from its manifest down, read in `folder` or where it lies in the store.

        Raises ArtifactError where manifest or configuration is not what its digest says; layers are not read.
        """
        there = folder or self.path(digest)
        return image_walk.walk(digest, lambda blob, limit: files.read_plain(there / blob_path(blob), limit), str(there))

    def adopt(
        self, key: str, folder: Path, entry: Mapping[str, Any], source: Mapping[str, Any], replace: bool = False
    ) -> Path:
        """Move `folder` (on the store's filesystem) into the store and pin `key` to it; it then no longer exists.

        `folder` holds the blobs, whose layers the caller has compared with their digests; the files beside them are
        made here, from a walk that begins at the digest of `entry`. Raises ArtifactError, and adopts nothing, when
        anything is missing or not of the image, or the key is pinned to another one.
        """
        digest = str(entry["digest"])
        walked = self.walk(digest, folder)
        require_line(key, entry, walked)
        for path, raw in image_walk.derived(walked, _name(entry)).items():
            files.erase(folder / path)
            files.write_fresh(folder / path, raw)
        description = _described(digest, walked, entry, {"key": key, "id": walked.config.digest, **source})
        files.erase(folder / manifest.NAME)
        named = [*manifest.damage(folder, description, deep=False), *manifest.strangers(folder, description)]
        if named:
            raise ArtifactError(f"the image {key} is not complete: {'; '.join(named)}")
        files.write_json(folder / manifest.NAME, description.to_dict())
        files.sync_tree(folder)
        target = self.path(digest)
        with self.store.exclusive():
            entries = self.index()
            self._require_same(key, entries.get(key), "" if replace else digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.store.discard(target)
            folder.rename(target)
            files.sync_folder(target.parent)
            replaced = entries.get(key)
            entries[key] = dict(entry)
            self._write(entries)
            if replaced and replaced["digest"] not in {line["digest"] for line in entries.values()}:
                self.store.discard(self.path(str(replaced["digest"])))
        return target

    def require_pins(self, lines: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ArtifactError when a key of `lines` is pinned to another image, unless the image is one of ours."""
        entries = self.index()
        for key, entry in lines.items():
            # One of ours is what its controller last built it from, and no tag that somebody moved.
            if not key.startswith(OURS):
                self._require_same(key, entries.get(key), str(entry["digest"]))

    def damage(self, digest: str, deep: bool = True) -> tuple[str, ...]:
        """What is wrong with the image `digest`, one line per file; empty when it is whole.

        Which files it has follows from its digest, never from what lies beside the blobs. Shallow compares the sizes
        of layers, deep compares SHA-256 as well; manifest and configuration are hashed either way.
        """
        folder = self.path(digest)
        try:
            walked = self.walk(digest)
            found = Manifest.read(folder / manifest.NAME)
            lines = [line for line in self.index().values() if line["digest"] == digest]
        except ArtifactError as error:
            return (str(error),)
        # Several keys may share an image: it lies under the name of the last.
        if not any(_described(digest, walked, line, {}).files == found.files for line in lines):
            return (f"{folder / manifest.NAME}: lists other files than the image {digest} has",)
        return manifest.damage(folder, found, deep)

    def verify(self, key: str, deep: bool = True) -> Manifest:
        """The manifest of the image `key`, all of whose files are as it says.

        Raises ArtifactError that names each damaged file, or what there is when the store lacks it.
        """
        entry = self.index().get(key)
        if not entry or not self.path(entry["digest"]).is_dir():
            held = ", ".join(sorted(self.index())) or "none"
            raise ArtifactError(f"found no image {key} in {self.store.root}, needed one of: {held}")
        if problems := self.damage(str(entry["digest"]), deep):
            listed = "\n  ".join(problems)
            raise ArtifactError(
                f"the image {key} is damaged in the store:\n  {listed}\n"
                "'phi4-edge provision' fetches or builds again what is damaged."
            )
        return Manifest.read(self.path(str(entry["digest"])) / manifest.NAME)

    def remove(self, key: str) -> int:
        """Forget `key` and what it was pinned to; return the bytes freed. Raises ArtifactError for an unknown key."""
        with self.store.exclusive():
            entries = self.index()
            if key not in entries:
                held = ", ".join(sorted(entries)) or "none"
                raise ArtifactError(f"found no image {key} in {self.store.root}, needed one of: {held}")
            entry = entries.pop(key)
            self._write(entries)
            if any(other["digest"] == entry["digest"] for other in entries.values()):
                return 0
            folder = self.path(str(entry["digest"]))
            if not folder.is_dir():
                return 0
            self.store.discard(folder)
        return int(entry["size"])

    def forget(self, digest: str) -> None:
        """The image `digest` is not in the store any more; for who holds its one lock and removes the folder then.

        What tags of a registry were pinned to stays so, and is fetched again under that digest; what is built here is
        pinned to nothing.
        """
        entries, kept = self.index(), dict[str, dict[str, Any]]()
        for key, entry in entries.items():
            if entry["digest"] != digest:
                kept[key] = entry
            elif not key.startswith(OURS):
                kept[key] = {**entry, "path": ""}
        if kept != entries:
            self._write(kept)

    def blobs(self, digest: str) -> Iterator[Path]:
        """Every file of the store that holds the blob `digest` already, in any image."""
        name = digest.removeprefix("sha256:")
        yield from sorted(self.folder.glob(f"*/{BLOBS}/{name}"))

    def borrow(self, digest: str, size: int, target: Path) -> bool:
        """True when `target` now is the blob `digest`, shared with another image of the store, and was checked."""
        for path in self.blobs(digest):
            if path.stat().st_size == size and manifest.sha256_of(path) == digest.removeprefix("sha256:"):
                target.parent.mkdir(parents=True, exist_ok=True)
                files.erase(target)
                os.link(path, target)
                return True
        return False

    def _write(self, entries: Mapping[str, Any]) -> None:
        self.store.root.mkdir(parents=True, exist_ok=True)
        files.write_json(self.store.root / INDEX, {"format": FORMAT, "images": dict(entries)})

    @staticmethod
    def _require_same(key: str, known: Mapping[str, Any] | None, digest: str) -> None:
        if known and digest and known["digest"] != digest:
            raise ArtifactError(
                f"found {key} at {digest[:19]}…, needed {str(known['digest'])[:19]}…, to which it was pinned when it "
                "was first resolved: the tag was moved to other content. Find out why it changed; 'phi4-edge model "
                f"remove {key}' forgets the pin"
            )


def valid(entry: object) -> bool:
    """Whether `entry` is a line of the index."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in ("digest", "id", "path", "reference"))
        and type(entry.get("size")) is int
        and bool(DIGEST.fullmatch(entry["digest"]) and DIGEST.fullmatch(entry["id"]))
    )


def require_line(key: str, entry: Mapping[str, Any], walked: Walked) -> None:
    """Raise ArtifactError unless the index's line `entry` says of the image what the walk from its digest found."""
    architecture = key.rpartition("/")[2]
    if walked.architecture != architecture:
        raise ArtifactError(f"{key}: found an image for linux/{walked.architecture[:40]}, needed linux/{architecture}")
    if entry["id"] != walked.config.digest or entry["size"] != walked.size:
        raise ArtifactError(
            f"{key}: found the configuration {walked.config.digest[:19]}… and {walked.size} bytes, its line says "
            f"{str(entry['id'])[:19]}… and {entry['size']}"
        )


def _name(entry: Mapping[str, Any]) -> str:
    """What Docker on a host calls the image of this line."""
    repository, _, tag = str(entry["reference"]).rpartition(":")
    return local_name(repository, tag, str(entry["digest"]))


def _described(digest: str, walked: Walked, entry: Mapping[str, Any], source: Mapping[str, Any]) -> Manifest:
    listed = image_walk.files(walked, _name(entry))
    return Manifest(
        artifact=f"image/{digest.removeprefix('sha256:')[:40]}",
        files=tuple(FileEntry(file.path, file.size, file.sha256) for file in listed),
        licence="see the image's labels",
        source={"digest": digest, **source},
    )


def _unreadable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be read ({why}): it says which image each tag was pinned to. Restore it, or remove it to "
        "resolve all tags again"
    )
