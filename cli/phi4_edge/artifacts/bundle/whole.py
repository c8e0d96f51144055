"""Whether what a bundle names is whole in it, and is what this installation knows: its locks, its pins, its catalog.

All of it is decided from the bundle alone, before anything is written: `bundle verify` and `provision --bundle` ask the
same question here. Only manifests are read, each bounded; every other file is known by the hash that the walk through
the bundle has compared already.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from phi4_edge.artifacts.bundle import manifest as bundle_manifest
from phi4_edge.artifacts.bundle.manifest import SBOM, WHEELHOUSE, Contents
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.fetch import pins
from phi4_edge.artifacts.fetch.model import NEVER
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.images import require_line
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.core import image_walk, wheel_lock
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError

# The first bytes of a file of the bundle, at most so many.
Read = Callable[[FileEntry, int], bytes]
Files = Mapping[str, FileEntry]
ENGINE = "phi4-edge/onnx"
# Every engine and the chat page, in a few versions, for two architectures: each costs reading its configuration.
_MOST_IMAGES = 128


def engine_of(content: Content) -> Path:
    """Where the ONNX engine of this installation is, with the locks of its wheels."""
    return content.roles() / "onnx" / "files" / "engine"


def check(contents: Contents, read: Read, engine_dir: Path, where: str, part: bool = False) -> None:
    """Raise ArtifactError, naming `where`, unless everything that the bundle names is in it, and nothing else.

    `engine_dir` holds the locks of this installation. `part`: hosts are left out, as in a transfer to a worker, which
    brings what is lacking there.
    """
    folders = _folders(contents)
    named = {f"artifacts/{digest}" for digest in contents.artifacts.values()}
    named |= {f"wheelhouses/{name}" for name in contents.wheelhouses}
    named |= {str(entry["path"]) for entry in contents.images.values() if entry["path"]}
    if odd := sorted(folders.keys() ^ named):
        what = "is listed but missing" if odd[0] in named else "is in it but not listed"
        raise ArtifactError(f"{where}: {odd[0]} {what}; create the bundle again")
    if len(contents.images) > _MOST_IMAGES:
        raise ArtifactError(f"{where}: it names {len(contents.images)} images, at most {_MOST_IMAGES} are accepted")
    if not part:
        _require_needs(contents, where)
    for name, digest in contents.artifacts.items():
        _artifact(name, digest, folders[f"artifacts/{digest}"], read, where)
    for name in contents.wheelhouses:
        lock = _lock(name, contents.engines, engine_dir, where)
        _wheelhouse(name, folders[f"wheelhouses/{name}"], read, lock, where)
    for key, entry in contents.images.items():
        if entry["path"]:
            _image(key, entry, folders[str(entry["path"])], read, where)


def _folders(contents: Contents) -> dict[str, dict[str, FileEntry]]:
    """Files by the folder of the store that they are of, and their name in it."""
    found: dict[str, dict[str, FileEntry]] = {}
    for entry in contents.files:
        if entry.path != SBOM:
            kind, name, inner = entry.path.split("/", 2)
            found.setdefault(f"{kind}/{name}", {})[inner] = entry
    return found


def _require_needs(contents: Contents, where: str) -> None:
    """Raise ArtifactError unless what the hosts need is what the bundle names."""
    needed, offered = set[str](), {*contents.artifacts, *contents.wheelhouses, *contents.images}
    for what in contents.hosts.values():
        needed |= {str(what["model"]), *map(str, what["images"])}
        needed |= {str(what["runtime"])} if what["runtime"] else set()
    if odd := sorted(needed ^ offered):
        what_of = "is needed by a host but missing" if odd[0] in needed else "is for no host"
        raise ArtifactError(f"{where}: {odd[0][:120]!a} {what_of}; create the bundle again")


def _artifact(name: str, digest: str, inside: Files, read: Read, where: str) -> None:
    held = _manifest(f"artifacts/{digest}", inside, read, where)
    if (held.artifact, held.digest) != (name, digest):
        raise ArtifactError(
            f"{where}: it lists {name} as {digest[:12]}…, and holds {held.artifact} of {held.digest[:12]}… there"
        )
    try:
        paths = [*(entry.path for entry in held.files), *(link.path for link in held.links)]
        bundle_manifest.require_each_once(paths)
        for link in held.links:
            bundle_manifest.require_path(f"artifacts/{digest}/{link.path}")
        if pins.NAME.fullmatch(name):
            pins.require_known(held, load_catalog())
        else:
            _require_data(held)
    except (ValueError, ArtifactError) as error:
        raise ArtifactError(f"{where}: {name} cannot be used ({error}); create the bundle again") from None


def _require_data(held: Manifest) -> None:
    """Raise ValueError for a model with anything that may run when it is read."""
    runs = [path for path in (entry.path for entry in held.files) if _runs(path)]
    if runs or held.executables or held.links:
        odd = min([*runs, *held.executables, *(link.path for link in held.links)])
        raise ValueError(f"{odd[:120]} may run code, which no file of a model may")


def _runs(path: str) -> bool:
    return any(fnmatch.fnmatchcase(path.rpartition("/")[2].lower(), pattern) for pattern in NEVER)


def _lock(name: str, engines: Mapping[str, str], engine_dir: Path, where: str) -> Path:
    """The lock of this installation for the wheelhouse `name`. Raises ArtifactError for one of another engine."""
    match = _form(name)
    if match["engine"] != engines.get(ENGINE, "")[:16]:
        raise ArtifactError(f"{where}: the wheelhouse {name} is for another engine than this installation has")
    try:
        return wheelhouse.lock_of(engine_dir, f"3.{match['minor']}")
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from None


def _wheelhouse(name: str, inside: Files, read: Read, lock: Path, where: str) -> None:
    """Exactly what the lock of this installation wants."""
    match = _form(name)
    held = _manifest(f"wheelhouses/{name}", inside, read, where)
    if held.artifact != f"wheelhouse/cp3{match['minor']}-{match['arch']}" or held.links or held.executables:
        raise ArtifactError(f"{where}: {name} holds {held.artifact}, which is another wheelhouse")
    files = {path: entry.sha256 for path, entry in inside.items() if path != manifest.NAME}
    if problems := wheel_lock.problems(lock.read_bytes().decode("utf-8"), match["arch"], files):
        raise ArtifactError(
            f"{where}: the wheelhouse {name} is not as this installation's {lock.name} has it: "
            f"{'; '.join(problems[:5])}. Nothing of the bundle was used"
        )


def _form(name: str) -> re.Match[str]:
    match = WHEELHOUSE.fullmatch(name)
    assert match is not None, "the form was held when the manifest was read"  # noqa: S101
    return match


def _manifest(folder: str, inside: Files, read: Read, where: str) -> Manifest:
    """The manifest of `folder`, whose files are all there and no others. Raises ArtifactError otherwise."""
    own = inside.get(manifest.NAME)
    if own is None:
        raise ArtifactError(f"{where}: {folder} has no {manifest.NAME} in it; create the bundle again")
    held = Manifest.parse(read(own, manifest.LARGEST_MANIFEST + 1), f"{where}, {own.path}")
    wanted = {entry.path: (entry.size, entry.sha256) for entry in held.files}
    found = {path: (entry.size, entry.sha256) for path, entry in inside.items() if path != manifest.NAME}
    if odd := sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)):
        why = (
            "is in it but not part of"
            if odd[0] not in wanted
            else "is missing from"
            if odd[0] not in found
            else "differs from"
        )
        raise ArtifactError(f"{where}: {folder}/{odd[0]} {why} {held.artifact} as listed; create it again")
    return held


def _image(key: str, entry: Mapping[str, object], inside: Files, read: Read, where: str) -> None:
    """Every blob is what its name says, and the walk from the pinned digest needs each of them and no other."""
    for path, file in inside.items():
        if path != f"{image_walk.BLOBS}/{file.sha256}":
            raise ArtifactError(f"{where}: {file.path} has sha256 {file.sha256[:12]}…: a blob is named by its hash")

    def blob(digest: str, limit: int) -> bytes | None:
        file = inside.get(image_walk.blob_path(digest))
        return None if file is None else read(file, limit)

    walked = image_walk.walk(str(entry["digest"]), blob, f"{where}, {entry['path']}")
    try:
        require_line(key, entry, walked)
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from None
    wanted = {one.path: one.size for one in walked.blobs}
    found = {path: file.size for path, file in inside.items()}
    if odd := sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)):
        raise ArtifactError(f"{where}: {odd[0]} of {key} is missing, of another size, or no part of it")
