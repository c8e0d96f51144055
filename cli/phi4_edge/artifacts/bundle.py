"""Bundles: one file with everything that a fleet's plans need, for a controller that reaches no network."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge import __version__
from phi4_edge.artifacts import bundle_format as form
from phi4_edge.artifacts import delivery, files, manifest, resources, sbom, wheelhouse
from phi4_edge.artifacts.bundle_format import Contents
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.manifest import FileEntry, Manifest
from phi4_edge.artifacts.progress import Event, Progress, silent
from phi4_edge.artifacts.store import Store
from phi4_edge.artifacts.store_images import Images
from phi4_edge.core.reference import OURS
from phi4_edge.errors import ArtifactError

_SPARE = 100_000_000  # bytes left free beside what is written


def create(
    store: Store, plans: Iterable[Mapping[str, Any]], content: Content, path: Path, progress: Progress = silent
) -> Contents:
    """Write everything that `plans` (dicts, whose needs are in the store) name to the file `path`.

    The file is complete or not there. Raises ArtifactError when something is missing or damaged, or disk will not do.
    """
    contents, bill = collect(store, [plan for plan in plans if plan["fits"]], content)
    size = form.size_of(contents)
    resources.require_disk(path.parent, size + _SPARE, f"the bundle {path.name}")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            write(store, contents, bill, out, lambda done: progress(Event(path.name, "writing", "", done, size)))
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
    """A bundle all of whose bytes were checked; `positions` is where each blob begins in the file."""

    path: Path
    contents: Contents
    positions: Mapping[str, int]

    @classmethod
    def open(cls, path: Path, content: Content, progress: Progress = silent) -> Bundle:
        """Check every byte of the file `path`. Raises ArtifactError that names what is not as it was written."""
        try:
            with path.open("rb") as stream:
                contents = form.read_contents(stream, str(path))
                total, positions = form.size_of(contents), {}
                for sha256, position in form.walk(stream, contents, str(path)):
                    positions[sha256] = position
                    progress(Event(path.name, "checking", "", stream.tell(), total))
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
        if dict(contents.engines) != content.runtimes():
            raise ArtifactError(
                f"{path} was made with other files of our own than this installation has: create it again from this one"
            )
        return cls(path, contents, positions)

    def digests(self) -> dict[str, str]:
        """Artifact id → digest, as `Store.digests`."""
        return dict(self.contents.artifacts)

    def image_digests(self) -> dict[str, str]:
        """Key → digest, as `Store.image_digests`."""
        return {key: str(entry["digest"]) for key, entry in self.contents.images.items()}

    def bring(self, store: Store, progress: Progress = silent) -> None:
        """Have everything of the bundle in the store; what is there already is left as it is.

        Raises ArtifactError when disk will not do, or what is in the bundle does not fit together.
        """
        shelf = Images(store)
        folders = self.lacking(store)
        need = sum(entry.size for folder in folders for entry in self._inside(folder))
        resources.require_disk(store.root, need + _SPARE, f"unpacking {self.path.name}")
        for folder in folders:
            with store.workspace("bundle") as work:
                progress(Event(self.path.name, "unpacking", self._name(folder)))
                held = self._unpack(folder, work / "unpacked")
                self._adopt(store, shelf, folder, work / "unpacked", held)
        for key, entry in self.contents.images.items():
            if not entry["path"]:
                shelf.pin(key, entry)

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
        names = self.contents.wheelhouses
        return [f"wheelhouses/{name}" for name in names if _broken(store.root / "wheelhouses" / name)]

    def _images(self, shelf: Images) -> list[str]:
        entries = [entry for entry in self.contents.images.values() if entry["path"]]
        missing = {str(entry["path"]) for entry in entries if shelf.damage(str(entry["digest"]), deep=False)}
        known = shelf.digests()
        named = self.contents.images.items()
        return sorted(
            missing | {str(one["path"]) for key, one in named if one["path"] and known.get(key) != one["digest"]}
        )

    def _inside(self, folder: str) -> list[FileEntry]:
        return [entry for entry in self.contents.files if entry.path.startswith(f"{folder}/")]

    def _unpack(self, folder: str, target: Path) -> Manifest:
        """The folder as the store had it, its links among it. Raises ArtifactError when its manifest says otherwise."""
        with self.path.open("rb") as stream:
            for entry in self._inside(folder):
                path = target / entry.path.removeprefix(f"{folder}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                stream.seek(self.positions[entry.sha256])
                with path.open("wb") as out:
                    _copy(stream, out, entry.size)
        held = Manifest.read(target / manifest.NAME)
        for link in held.links:
            path = target / link.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(link.target)
        if problems := manifest.damage(target, held, deep=True):
            raise ArtifactError(f"{self.path}: {folder} is not complete in it: {'; '.join(problems)}")
        return held

    def _adopt(self, store: Store, shelf: Images, folder: str, unpacked: Path, held: Manifest) -> None:
        kind, _, name = folder.partition("/")
        if kind == "artifacts":
            if held.digest != name:
                raise ArtifactError(f"{self.path}: {folder} holds {held.artifact} of digest {held.digest[:12]}")
            store.adopt(unpacked, held)
        elif kind == "wheelhouses":
            wheelhouse.adopt(store, name, unpacked)
        else:
            for key, entry in self.contents.images.items():
                # One of ours is what its controller last built it from, and no tag that somebody moved.
                ours = key.startswith(OURS)
                if entry["path"] == folder and unpacked.is_dir():
                    shelf.adopt(key, unpacked, held, entry, replace=ours)
                elif entry["path"] == folder:
                    shelf.pin(key, entry, replace=ours)


def _broken(folder: Path) -> bool:
    """Whether the wheels in `folder` are missing or changed."""
    if not folder.is_dir():
        return True
    try:
        return bool(manifest.damage(folder, Manifest.read(folder / manifest.NAME), deep=True))
    except ArtifactError:
        return True


def _copy(stream: Any, out: Any, size: int) -> None:
    left = size
    while left:
        block = stream.read(min(left, 1 << 20))
        if not block:
            raise ArtifactError("the bundle became shorter while it was read; copy it again")
        out.write(block)
        left -= len(block)


def collect(store: Store, plans: Iterable[Mapping[str, Any]], content: Content) -> tuple[Contents, bytes]:
    """What the plans need, as the manifest says it, and the bill of materials."""
    plans = list(plans)
    shelf = Images(store)
    names = {str(plan["model"]["artifact"]) for plan in plans}
    names |= {str(plan["runtime"]["artifact"]) for plan in plans if (plan["runtime"] or {}).get("artifact")}
    wheels = {str(plan["runtime"]["id"]) for plan in plans if plan["runtime"] and not plan["runtime"].get("artifact")}
    known = shelf.index()
    images: dict[str, dict[str, Any]] = {}
    for plan in plans:
        for image in delivery.planned_images(plan):
            line = _entry(shelf, known, image, plan)
            # One host may be sent what another one pulls itself.
            if line["path"] or image["key"] not in images:
                images[str(image["key"])] = line
    artifacts = {name: store.digest(name) for name in sorted(names)}
    folders = {store.path(digest) for digest in artifacts.values()}
    folders |= {store.root / "wheelhouses" / name for name in wheels}
    folders |= {shelf.path(str(entry["digest"])) for entry in images.values() if entry["path"]}
    entries = [entry for folder in sorted(folders) for entry in form.of_folder(store.root, folder)]
    bill = sbom.document(store, artifacts, sorted(wheels), images)
    entries.append(FileEntry(form.SBOM, len(bill), sbom.sha256(bill)))
    hosts = {str(plan["host"]): _need(plan) for plan in plans}
    contents = Contents(__version__, tuple(entries), artifacts, images, tuple(wheels), hosts, content.runtimes())
    return contents, bill


def _entry(
    shelf: Images, known: Mapping[str, Any], image: Mapping[str, Any], plan: Mapping[str, Any]
) -> dict[str, Any]:
    """The image's line of the store's index; without a path where hosts pull it, and it is not in the bundle."""
    key = str(image["key"])
    if key not in known:
        raise ArtifactError(f"{key} is not in {shelf.store.root}: it was to be fetched before")
    pushed = delivery.pushes(plan, image) and shelf.path(str(known[key]["digest"])).is_dir()
    return dict(known[key]) if pushed else {**known[key], "path": ""}


def _need(plan: Mapping[str, Any]) -> dict[str, Any]:
    runtime = plan["runtime"] or {}
    return {
        "engine": plan["engine"],
        "service_manager": plan["service_manager"],
        "model": plan["model"]["artifact"],
        "runtime": runtime.get("artifact") or runtime.get("id"),
        "images": [str(image["key"]) for image in delivery.planned_images(plan)],
        "image_delivery": plan.get("image_delivery", "push"),
    }


def write(store: Store, contents: Contents, bill: bytes, out: Any, seen: Any) -> None:
    """Write the bundle to `out`, which need only write and tell; `seen` hears how many bytes there are.

    Raises ArtifactError for a file of the store that is not what it was.
    """
    raw = contents.encode()
    out.write(form.header(form.NAME, len(raw)) + raw + form.padding(len(raw)))
    for member, entry in contents.members:
        out.write(form.header(member, entry.size))
        source = store.root / entry.path
        with io.BytesIO(bill) if member == form.SBOM else source.open("rb") as stream:
            found = form.hashed(stream, out)
        if found != entry.sha256:
            raise ArtifactError(
                f"{source} is damaged: sha256 {found[:12]}…, needed {entry.sha256[:12]}…; make it again"
            )
        out.write(form.padding(entry.size))
        seen(out.tell())
    out.write(form.ending(out.tell()))
