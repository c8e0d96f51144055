"""What lies in the store, thing by thing, with size and age; and how one of them is taken out of it.

Nothing is ever half removed: a thing is moved to tmp/ first, where whoever comes next deletes what a kill left.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.artifacts.store.use import alone
from phi4_edge.errors import ArtifactError

MODEL, RELEASE, WHEELHOUSE, IMAGE, ENVIRONMENT, DOWNLOAD, LEFTOVER = KINDS = (
    *("model", "release", "wheelhouse", "image", "environment", "download", "leftover"),
)


@dataclass(frozen=True)
class Item:
    """One thing of the store. `path`: below its root; `names`: all that it is known by, the first for people.

    `size`: bytes that are free when it is gone, a file that others share counted in part. `touched`: seconds since the
    epoch when it was made, or a download last grew. `digest`: of its files; `source`: where its manifest says it is
    from.
    """

    kind: str
    names: tuple[str, ...]
    path: str
    size: int
    touched: float
    digest: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.names[0]


def stock(store: Store) -> list[Item]:
    """All that is in the store, kind by kind. Raises ArtifactError for an index that cannot be read."""
    artifacts, images = store.index(), Images(store).index()
    named = _by_digest((name, str(entry["digest"])) for name, entry in artifacts.items())
    keys = _by_digest((key, str(entry["digest"])) for key, entry in images.items())
    items = [_artifact(store, folder, named) for folder in _folders(store, "artifacts")]
    items += [_wheelhouse(store, folder) for folder in _folders(store, "wheelhouses")]
    items += [_image(store, folder, keys) for folder in _folders(store, "images")]
    items += [_plain(store, ENVIRONMENT, path) for path in _folders(store, "environments")]
    items += [_plain(store, DOWNLOAD, path) for path in _children(store, "partial")]
    if left := files.abandoned(store.root / "tmp"):
        items.append(Item(LEFTOVER, ("tmp",), "tmp", sum(map(_size, left)), max(map(_touched, left))))
    return sorted(items, key=lambda item: (KINDS.index(item.kind), item.name))


def remove(store: Store, item: Item) -> str:
    """Take `item` out of the store; "" when it is gone, else why it stays: somebody uses it, or it was made anew.

    What the tag of an image of a registry was pinned to stays pinned. Raises ArtifactError for a store that cannot be
    changed.
    """
    if item.kind == LEFTOVER:
        with store.exclusive():
            files.sweep(store.root / "tmp")
        return ""
    with alone(store.root, item.path) as free, store.exclusive():
        if not free:
            return "another process uses it"
        path = store.root / item.path
        if path.exists() and _touched(path) != item.touched:
            return "it was made anew meanwhile"
        if item.kind in (MODEL, RELEASE):
            store.forget(item.digest)
        elif item.kind == IMAGE:
            Images(store).forget(item.digest)
        store.discard(path)
    return ""


def _artifact(store: Store, folder: Path, named: Mapping[str, tuple[str, ...]]) -> Item:
    """A folder that the index does not name is a model all the same: the index may be made again from its manifest."""
    found = _manifest(folder)
    names = named.get(folder.name) or ((found.artifact,) if found else ())
    kind = RELEASE if found and found.source.get("kind") == "release" else MODEL
    return _item(store, kind, names, folder, folder.name, found)


def _wheelhouse(store: Store, folder: Path) -> Item:
    found = _manifest(folder)
    return _item(store, WHEELHOUSE, (folder.name,), folder, found.digest if found else "", found)


def _image(store: Store, folder: Path, keys: Mapping[str, tuple[str, ...]]) -> Item:
    digest = f"sha256:{folder.name}"
    return _item(store, IMAGE, keys.get(digest, ()), folder, digest, _manifest(folder))


def _plain(store: Store, kind: str, path: Path) -> Item:
    return _item(store, kind, (path.name,), path, "", None)


def _item(store: Store, kind: str, names: tuple[str, ...], path: Path, digest: str, described: Manifest | None) -> Item:
    below = path.relative_to(store.root).as_posix()
    source = described.source if described else {}
    return Item(kind, names or (below[:30],), below, _size(path), _touched(path), digest, source)


def _by_digest(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, digest in sorted(pairs):
        found[digest] = (*found.get(digest, ()), name)
    return found


def _manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.read(folder / manifest.NAME)
    except ArtifactError:  # a thing that nobody can use any more is there, too
        return None


def _children(store: Store, kind: str) -> list[Path]:
    folder = store.root / kind
    there = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    return [path for path in there if not path.is_symlink()]


def _folders(store: Store, kind: str) -> list[Path]:
    return [path for path in _children(store, kind) if path.is_dir()]


def _files(path: Path) -> Iterator[Any]:
    """What `lstat` says of every plain file at or below `path`; one that is gone by then is passed over."""
    for each in (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else (path,):
        try:
            found = each.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield found


def _size(path: Path) -> int:
    return sum(found.st_size // max(found.st_nlink, 1) for found in _files(path))


def _touched(path: Path) -> float:
    """When a thing was made: then its manifest was written; without one, when the last of its files was."""
    described = path / manifest.NAME
    if described.is_file():
        return described.stat().st_mtime
    return max((found.st_mtime for found in _files(path)), default=path.lstat().st_mtime if path.exists() else 0.0)
