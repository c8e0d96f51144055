"""The content-addressed store on the controller.

artifacts/<digest>/      files and manifest.json; a folder is complete or is not there
index.json               artifact id → digest, path, size, number of files
images/, images.json     container images, see store_images
wheelhouses/<runtime id>/ environments/converter-<hash>/
partial/                 downloads to be resumed       tmp/  work in progress; leftovers of killed runs are removed
locks/                   one lock file per thing being made, and one per thing in use (see use)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.use import Uses
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

INDEX_FORMAT = "phi4-edge/index/1"


def default_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the store is: $PHI4_EDGE_STORE, else phi4-edge/store below $XDG_DATA_HOME or ~/.local/share."""
    if chosen := environment.get("PHI4_EDGE_STORE"):
        return Path(chosen).expanduser().absolute()
    data = environment.get("XDG_DATA_HOME")
    base = Path(data) if data else Path.home() / ".local" / "share"
    return base.absolute() / "phi4-edge" / "store"


class Store:
    """Artifacts by content. Every public method leaves the store whole, also when the process is killed in it."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        # What was hashed and found whole in this process, so that ten plans hash one model once.
        self.checked: set[str] = set()
        self._uses = Uses(self.root)

    @property
    def index_path(self) -> Path:
        """The index that planning reads."""
        return self.root / "index.json"

    def index(self) -> dict[str, dict[str, Any]]:
        """Artifact id → {digest, path (relative to the root), size (bytes), files (number)}; empty for a new store.

        An index that cannot be read is made again from the manifests: the artifacts themselves are the truth.
        """
        try:
            document = json.loads(self.index_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            document = None
        except ValueError:
            document = {}
        except OSError as error:
            raise _unusable(self.root, error) from error
        if isinstance(document, dict) and document.get("format") == INDEX_FORMAT:
            entries = document.get("artifacts")
            if isinstance(entries, dict) and all(_valid(name, entry) for name, entry in entries.items()):
                return entries
        return {} if document is None and not (self.root / "artifacts").is_dir() else self._rebuilt()

    def digests(self) -> dict[str, str]:
        """Artifact id → digest of every artifact whose folder is there."""
        return {name: entry["digest"] for name, entry in self.index().items() if self._folder(entry["digest"]).is_dir()}

    def path(self, digest: str) -> Path:
        """Folder of the artifact `digest`. Raises ArtifactError when it is not in the store."""
        folder = self._folder(digest)
        if not folder.is_dir():
            raise ArtifactError(f"artifact {digest} is not in {self.root}; make it with 'phi4-edge model'")
        return folder

    def digest(self, artifact_id: str) -> str:
        """Digest of `artifact_id`. Raises ArtifactError, listing what there is, when the store lacks it."""
        digests = self.digests()
        if artifact_id not in digests:
            held = ", ".join(sorted(digests)) or "nothing"
            raise ArtifactError(f"{artifact_id} is not in {self.root} (it holds {held}); see 'phi4-edge model --help'")
        return digests[artifact_id]

    def hold(self, *parts: str) -> None:
        """Nobody prunes what is at this path below the root, there or not, while this object lives."""
        try:
            self._uses.hold("/".join(parts))
        except OSError as error:
            raise _unusable(self.root, error) from error

    def use(self, artifact_id: str) -> str | None:
        """Digest of `artifact_id`, which nobody prunes while this object lives; None when the store lacks it."""
        while (digest := self.digests().get(artifact_id)) is not None:
            self.hold("artifacts", digest)
            if self.digests().get(artifact_id) == digest:
                break
        return digest

    def manifest(self, artifact_id: str) -> Manifest:
        """The manifest of `artifact_id`. Raises ArtifactError when it is missing or damaged."""
        return Manifest.read(self.path(self.digest(artifact_id)) / manifest.NAME)

    def damage(self, artifact_id: str, deep: bool = True) -> tuple[str, ...]:
        """What is wrong with `artifact_id`, one line per file; empty when it is whole.

        Shallow compares sizes (catches truncation), deep compares SHA-256 as well.
        """
        digest = self.digest(artifact_id)
        folder = self.path(digest)
        try:
            found = Manifest.read(folder / manifest.NAME)
        except ArtifactError as error:
            return (str(error),)
        if found.digest != digest:
            return (f"{folder / manifest.NAME}: describes {found.digest[:12]}, needed {digest[:12]}",)
        return manifest.damage(folder, found, deep)

    def verify(self, artifact_id: str, deep: bool = True) -> Manifest:
        """The manifest of `artifact_id`, all of whose files are as it says.

        Raises ArtifactError that names each damaged file, what was needed, and how to make the artifact again.
        """
        if problems := self.damage(artifact_id, deep):
            listed = "\n  ".join(problems)
            raise ArtifactError(
                f"{artifact_id} is damaged in the store:\n  {listed}\n"
                f"Remove it with 'phi4-edge model remove {artifact_id}' and make it again."
            )
        return self.manifest(artifact_id)

    def adopt(self, folder: Path, description: Manifest) -> str:
        """Move `folder` (on the store's filesystem, see `workspace`) into the store and return its digest.

        `folder` then no longer exists, nor does what the artifact's name stood for before. Files that differ from
        `description` raise ArtifactError and adopt nothing.
        """
        manifest.artifact_id(description.artifact)
        if named := manifest.damage(folder, description, deep=False):
            raise ArtifactError(f"{description.artifact} is not complete: {'; '.join(named)}")
        files.write_json(folder / manifest.NAME, description.to_dict())
        files.sync_tree(folder, description.executables)
        with self.exclusive():
            target = self._folder(description.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.discard(target)
            folder.rename(target)
            files.sync_folder(target.parent)
            entries = self.index()
            replaced = entries.get(description.artifact)
            entries[description.artifact] = self._entry(description)
            self._write_index(entries)
            if replaced:
                self._discard_unused(replaced["digest"], entries)
        return description.digest

    def remove(self, artifact_id: str) -> int:
        """Take `artifact_id`, and what a stopped fetch left of it, out of the store; return the bytes freed.

        Raises ArtifactError when there is nothing of it.
        """
        # Not while somebody makes it: what was found to be there must not be gone a moment later.
        with self.making(artifact_id), self.exclusive():
            entries = self.index()
            freed = self._remove_partial(artifact_id)
            if artifact_id not in entries:
                if freed is not None:
                    return freed
                raise ArtifactError(f"{artifact_id} is not in {self.root}; see 'phi4-edge model list'")
            entry = entries.pop(artifact_id)
            self._write_index(entries)
            gone = self._discard_unused(entry["digest"], entries)
        return (int(entry["size"]) if gone else 0) + (freed or 0)

    def forget(self, digest: str) -> None:
        """No name stands for `digest` any more; for who holds the store's one lock and removes its folder then."""
        entries = self.index()
        kept = {name: entry for name, entry in entries.items() if entry["digest"] != digest}
        if kept != entries:
            self._write_index(kept)

    @contextlib.contextmanager
    def making(self, name: str, progress: Progress = silent) -> Iterator[None]:
        """Hold the right to make `name`; a second process waits until the first is done."""
        with self._lock(
            name.replace("/", "_"), lambda: progress(Event(name, "waiting for another process that is making it"))
        ):
            yield

    @contextlib.contextmanager
    def workspace(self, purpose: str) -> Iterator[Path]:
        """An empty folder on the store's filesystem, gone afterwards; what killed runs left is removed first."""
        tmp = self.root / "tmp"
        with contextlib.ExitStack() as stack:
            with self.exclusive():
                tmp.mkdir(parents=True, exist_ok=True)
                files.sweep(tmp)
                folder = tmp / f"{purpose}-{uuid.uuid4().hex[:12]}"
                stack.enter_context(files.locked(files.lock_of(folder)))
                folder.mkdir()
            try:
                yield folder
            except OSError as error:  # a full disk, most often
                raise _unusable(self.root, error) from error
            finally:
                files.erase(folder)
                files.lock_of(folder).unlink(missing_ok=True)

    def _folder(self, digest: str) -> Path:
        return self.root / "artifacts" / digest

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Hold the store's one lock, for a change of an index."""
        return self._lock("store")

    @contextlib.contextmanager
    def _lock(self, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(self.root / "locks" / f"{name}.lock", on_wait))
            except OSError as error:
                raise _unusable(self.root, error) from error
            yield

    def _entry(self, description: Manifest) -> dict[str, Any]:
        return {
            "digest": description.digest,
            "path": f"artifacts/{description.digest}",
            "size": description.size,
            "files": len(description.files),
        }

    def _write_index(self, entries: Mapping[str, Any]) -> None:
        files.write_json(self.index_path, {"format": INDEX_FORMAT, "artifacts": dict(entries)})

    def _rebuilt(self) -> dict[str, dict[str, Any]]:
        folders = sorted((self.root / "artifacts").glob("*/"), key=lambda path: path.stat().st_mtime_ns)
        entries = {}
        for folder in folders:
            with contextlib.suppress(ArtifactError):
                found = Manifest.read(folder / manifest.NAME)
                if found.digest == folder.name:
                    entries[found.artifact] = self._entry(found)
        return entries

    def _remove_partial(self, artifact_id: str) -> int | None:
        """Remove stopped fetches of `artifact_id`; bytes freed, None when there were none."""
        name, _, variant = artifact_id.partition("/")
        # A model's folder is named by its revision or quantization; archives of a release are shared by its flavours.
        revision = {"safetensors": "[0-9a-f]{40}", "onnx-published": "onnx-[0-9a-f]{40}"}
        kind = "safetensors" if variant.startswith("safetensors") else variant
        part = variant if variant.startswith("gguf-") else variant.partition("-")[0]
        of = revision.get(kind, re.escape(part))
        shape = re.compile(f"{re.escape(name)}-{of}")
        folders = [path for path in (self.root / "partial").glob("*/") if shape.fullmatch(path.name)]
        if not folders:
            return None
        freed = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
        for folder in folders:
            self.discard(folder)
        return freed

    def _discard_unused(self, digest: str, entries: Mapping[str, Mapping[str, Any]]) -> bool:
        if any(entry["digest"] == digest for entry in entries.values()):
            return False
        self.discard(self._folder(digest))
        return True

    def discard(self, folder: Path) -> None:
        """Remove `folder` so that a kill in between leaves it under tmp/, never half gone under its own name."""
        if not folder.exists():
            return
        trash = self.root / "tmp" / f"discarded-{uuid.uuid4().hex[:12]}"
        trash.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(trash)
        files.erase(trash)


def _unusable(root: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"the store {root} cannot be used: {error}. Give it space and rights, or set PHI4_EDGE_STORE to another folder."
    )


def _valid(name: object, entry: object) -> bool:
    shape = {"digest": str, "path": str, "size": int, "files": int}
    return (
        isinstance(name, str)
        and isinstance(entry, dict)
        and all(isinstance(entry.get(key), kind) for key, kind in shape.items())
        and entry["path"] == f"artifacts/{entry['digest']}"
        and entry["digest"].isalnum()
    )
