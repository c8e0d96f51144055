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

from phi4_edge.artifacts import files, manifest
from phi4_edge.artifacts.manifest import Manifest
from phi4_edge.artifacts.store import Store
from phi4_edge.core.reference import DIGEST
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/images/1"
INDEX = "images.json"
BLOBS = "blobs/sha256"


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

    def adopt(
        self, key: str, folder: Path, description: Manifest, entry: Mapping[str, Any], replace: bool = False
    ) -> Path:
        """Move `folder` (on the store's filesystem) into the store and pin `key` to it; it then no longer exists.

        Raises ArtifactError, and adopts nothing, when a file is not as described or the key is pinned to another image.
        """
        if named := manifest.damage(folder, description, deep=False):
            raise ArtifactError(f"the image {key} is not complete: {'; '.join(named)}")
        files.write_json(folder / manifest.NAME, description.to_dict())
        files.sync_tree(folder)
        target = self.path(str(entry["digest"]))
        with self.store.exclusive():
            entries = self.index()
            self._require_same(key, entries.get(key), "" if replace else str(entry["digest"]))
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

    def damage(self, digest: str, deep: bool = True) -> tuple[str, ...]:
        """What is wrong with the image `digest`, one line per file; empty when it is whole.

        Shallow compares sizes, deep compares SHA-256 as well.
        """
        folder = self.path(digest)
        try:
            found = Manifest.read(folder / manifest.NAME)
        except ArtifactError as error:
            return (str(error),)
        if f"{BLOBS}/{digest.removeprefix('sha256:')}" not in {entry.path for entry in found.files}:
            return (f"{folder}: does not hold the manifest {digest}",)
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
                "was first resolved: the tag was moved to other content. Look first why it changed; 'phi4-edge model "
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


def _unreadable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be read ({why}): it says which image each tag was pinned to. Restore it, or remove it to "
        "resolve all tags again"
    )
