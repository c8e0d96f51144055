"""Bundles: one file with everything that a fleet's plans need, for a controller that reaches no network."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.bundle import collect, whole
from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle import manifest as bundle_manifest
from phi4_edge.artifacts.bundle.manifest import SBOM, Contents
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.fetch import pins
from phi4_edge.artifacts.signing.gate import UNASKED, Gate, Passed
from phi4_edge.artifacts.signing.judge import NOTHING, Presented
from phi4_edge.artifacts.signing.making import Signing
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.image_reference import OURS
from phi4_edge.core.plan.model import Plan
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

_SPARE = 100_000_000  # bytes left free beside what is written


def create(
    store: Store,
    plans: Iterable[Plan],
    content: Content,
    path: Path,
    progress: Progress = silent,
    signing: Signing | None = None,
) -> Contents:
    """Write everything that `plans`, whose needs are in the store, name to the file `path`.

    With `signing` what is in it is signed, and the signature is in the file. The file is complete or not there.
    Raises ArtifactError when something is missing or damaged, or disk will not do.
    """
    contents, bill = collect.collect(store, [plan for plan in plans if plan.fits], content)
    given = signing.sign(contents) if signing else NOTHING
    size = bundle_format.size_of(contents, given)
    resources.require_disk(path.parent, size + _SPARE, f"the bundle {path.name}")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            seen = lambda done: progress(Event(path.name, "writing", "", done, size))  # noqa: E731
            write(store, contents, bill, out, seen, given)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error}; give another --output") from error
    finally:
        part.unlink(missing_ok=True)
    return contents


@dataclass(frozen=True)
class Bundle:
    """A bundle all of whose bytes were checked; `positions` is where each blob begins in the file.

    `engine_dir` holds the locks of this installation.
    """

    path: Path
    contents: Contents
    positions: Mapping[str, int]
    engine_dir: Path
    passed: Passed = UNASKED

    @classmethod
    def open(
        cls, path: Path, content: Content, progress: Progress = silent, part: bool = False, gate: Gate | None = None
    ) -> Bundle:
        """Check every byte of the file `path`, and that all that it names is whole and as this installation knows it.

        `part`: it was sent to a worker, and brings what is lacking there. `gate` holds its signature to the keys that
        are trusted here, before anything in it is looked at. Raises ArtifactError that names what is not
        as it was written; nothing was changed then.
        """
        engine_dir = whole.engine_of(content)
        try:
            with path.open("rb") as stream:
                raw = bundle_format.read_manifest(stream, str(path))
                given = bundle_format.read_signed(stream, str(path))
                passed = gate.open(stream, raw, given, path) if gate else UNASKED
                contents = bundle_manifest.decode(raw, str(path))
                require_ours(contents, content, str(path))
                total, positions = bundle_format.size_of(contents, given), {}
                for sha256, position in bundle_format.walk(stream, contents, str(path)):
                    positions[sha256] = position
                    progress(Event(path.name, "checking", "", stream.tell(), total))

                def read(entry: FileEntry, limit: int) -> bytes:
                    stream.seek(positions[entry.sha256])
                    return stream.read(min(entry.size, limit))

                whole.check(contents, read, engine_dir, str(path), part)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
        return cls(path, contents, positions, engine_dir, passed)

    def digests(self) -> dict[str, str]:
        """Artifact id → digest, as `Store.digests`."""
        return dict(self.contents.artifacts)

    def image_digests(self) -> dict[str, str]:
        """Key → digest, as `Images.digests`."""
        return {key: str(entry["digest"]) for key, entry in self.contents.images.items()}

    def require_place(self, store: Store) -> None:
        """Raise ArtifactError where `store` has pinned a tag or a release to something else."""
        Images(store).require_pins(self.contents.images)
        pins.require_same_tree(store, self.contents.artifacts)

    def bring(self, store: Store, progress: Progress = silent) -> None:
        """Have everything of the bundle in the store; what is there already is left as it is.

        All of it is unpacked aside and compared once more before the first of it gets its name. Raises ArtifactError
        when disk will not do, or the file changed meanwhile; the store is as it was then.
        """
        self.require_place(store)
        folders = self.lacking(store)
        need = sum(entry.size for folder in folders for entry in self._inside(folder))
        resources.require_disk(store.root, need + _SPARE, f"unpacking {self.path.name}")
        if folders:
            with store.workspace("bundle") as work:
                for number, folder in enumerate(folders):
                    progress(Event(self.path.name, "unpacking", self._name(folder)))
                    self._unpack(folder, work / str(number))
                for number, folder in enumerate(folders):
                    self._adopt(store, folder, work / str(number))
        shelf = Images(store)
        for key, entry in self.contents.images.items():
            if not entry["path"] or shelf.digests().get(key) != entry["digest"]:
                shelf.pin(key, entry, replace=key.startswith(OURS))

    def lacking(self, store: Store) -> list[str]:
        """Folders of the bundle that are not whole in the store."""
        return [*self._artifacts(store), *self._wheelhouses(store), *self._images(Images(store))]

    def _name(self, folder: str) -> str:
        """What `folder` is called: an artifact's id, an image's key, or its own name."""
        named = {f"artifacts/{digest}": name for name, digest in self.contents.artifacts.items()}
        named |= {str(entry["path"]): key for key, entry in self.contents.images.items()}
        return named.get(folder, folder)

    def _artifacts(self, store: Store) -> list[str]:
        there = store.digests()
        wanted = self.contents.artifacts.items()
        return [f"artifacts/{one}" for name, one in wanted if there.get(name) != one or store.damage(name, deep=False)]

    def _wheelhouses(self, store: Store) -> list[str]:
        shelf = store.root / "wheelhouses"
        names = self.contents.wheelhouses
        return [f"wheelhouses/{name}" for name in names if wheelhouse.faults(name, shelf / name, self.engine_dir)]

    def _images(self, shelf: Images) -> list[str]:
        entries = [entry for entry in self.contents.images.values() if entry["path"]]
        missing = {str(entry["path"]) for entry in entries if shelf.damage(str(entry["digest"]), deep=False)}
        return sorted(missing)

    def _inside(self, folder: str) -> list[FileEntry]:
        return [entry for entry in self.contents.files if entry.path.startswith(f"{folder}/")]

    def _unpack(self, folder: str, target: Path) -> None:
        """The files of `folder`, each hashed as it is written: the bundle may have changed since it was opened."""
        with self.path.open("rb") as stream:
            for entry in self._inside(folder):
                path = target / entry.path.removeprefix(f"{folder}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                stream.seek(self.positions[entry.sha256])
                with path.open("xb") as out:
                    if _copy(stream, out, entry.size) != entry.sha256:
                        raise ArtifactError(f"{self.path} changed while it was read: copy it again")

    def _adopt(self, store: Store, folder: str, unpacked: Path) -> None:
        """What was unpacked has its name in the store; each kind compares it once more with what it is to be."""
        kind, _, name = folder.partition("/")
        if kind == "artifacts":
            held = Manifest.read(unpacked / manifest.NAME)
            for link in held.links:
                path = unpacked / link.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(link.target)
            pins.pin_tree(store, held.artifact, store.adopt(unpacked, held))
        elif kind == "wheelhouses":
            wheelhouse.adopt(store, name, unpacked, self.engine_dir)
        else:
            keys = [key for key, entry in self.contents.images.items() if entry["path"] == folder]
            # One of ours is what its controller last built it from, and no tag that somebody moved.
            replace = keys[0].startswith(OURS)
            Images(store).adopt(keys[0], unpacked, self.contents.images[keys[0]], {"kind": "bundle"}, replace=replace)


def require_ours(contents: Contents, content: Content, where: str) -> None:
    """Raise ArtifactError unless `contents` were made with the same files of our own as this installation has."""
    if dict(contents.engines) != content.runtimes():
        raise ArtifactError(
            f"{where} was made with other files of our own than this installation has: create it again from this one"
        )


def _copy(stream: Any, out: Any, size: int) -> str:
    """Copy `size` bytes; their SHA-256."""
    left, found = size, hashlib.sha256()
    while left:
        block = stream.read(min(left, 1 << 20))
        if not block:
            raise ArtifactError("the bundle became shorter while it was read; copy it again")
        out.write(block)
        found.update(block)
        left -= len(block)
    return found.hexdigest()


def write(store: Store, contents: Contents, bill: bytes, out: Any, seen: Any, given: Presented = NOTHING) -> None:
    """Write the bundle to `out`, which need only write and tell; `seen` hears how many bytes there are.

    `given` is what it is signed with.

    Raises ArtifactError for a file of the store that is not what it was.
    """
    raw = contents.encode()
    out.write(
        bundle_format.header(bundle_manifest.NAME, len(raw))
        + raw
        + bundle_format.padding(len(raw))
        + bundle_format.signed_members(given)
    )
    for member, entry in contents.members:
        out.write(bundle_format.header(member, entry.size))
        source = store.root / entry.path
        with io.BytesIO(bill) if member == SBOM else source.open("rb") as stream:
            found = bundle_format.hashed(stream, out)
        if found != entry.sha256:
            raise ArtifactError(
                f"{source} is damaged: sha256 {found[:12]}…, needed {entry.sha256[:12]}…; make it again"
            )
        out.write(bundle_format.padding(entry.size))
        seen(out.tell())
    out.write(bundle_format.ending(out.tell()))
