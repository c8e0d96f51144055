"""The bundle file: one tar, written so that every byte of it follows from its manifest and the contents.

Members, in this order: `manifest.json`, `sbom.cdx.json`, then `blobs/<sha256>` sorted by name. The manifest maps
the files of the store to blobs; a file that several things share is there once. A reader rebuilds each header and
compares, so a changed byte anywhere is found, and nothing of the file but its manifest is ever interpreted.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from phi4_edge import __version__
from phi4_edge.artifacts import manifest
from phi4_edge.artifacts.manifest import FileEntry
from phi4_edge.artifacts.store_images import valid
from phi4_edge.core.text import LARGEST
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/bundle/1"
NAME = "manifest.json"
SBOM = "sbom.cdx.json"
BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_LIMIT = 256 << 20  # of the manifest: 250 bytes for each file, and no fleet needs a million of them
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Contents:
    """What a bundle's manifest says.

    `files` are named as in the store (`artifacts/<digest>/…`, `wheelhouses/…`, `images/…`), and the bill of materials.
    `artifacts` and `images` are the lines of the store's indexes, `hosts` says what is for whom, `engines` what our own
    files were.
    """

    version: str
    files: tuple[FileEntry, ...]
    artifacts: Mapping[str, str]
    images: Mapping[str, Mapping[str, Any]]
    wheelhouses: tuple[str, ...]
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)

    @property
    def members(self) -> list[tuple[str, FileEntry]]:
        """Every member after the manifest in the order of the file: its name, and the first file that it is."""
        blobs: dict[str, FileEntry] = {}
        for entry in sorted(self.files, key=lambda entry: (entry.sha256, entry.path)):
            if entry.path != SBOM:
                blobs.setdefault(f"blobs/{entry.sha256}", entry)
        return [*((SBOM, entry) for entry in self.files if entry.path == SBOM), *blobs.items()]

    def encode(self) -> bytes:
        """The exact bytes of manifest.json; `digest` covers everything else in it."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "phi4_edge_version": self.version,
            "files": [{"path": e.path, "size": e.size, "sha256": e.sha256} for e in sorted(self.files)],
            "artifacts": dict(self.artifacts),
            "images": {key: dict(entry) for key, entry in self.images.items()},
            "wheelhouses": sorted(self.wheelhouses),
            "hosts": {host: dict(what) for host, what in self.hosts.items()},
            "engines": dict(self.engines),
        }
        return _text({**document, "digest": hashlib.sha256(_text(document)).hexdigest()})


def header(name: str, size: int) -> bytes:
    """The one header that a member may have."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What fills the last block of a member."""
    return b"\0" * (-size % BLOCK)


def ending(length: int) -> bytes:
    """What closes a tar of `length` bytes: two empty blocks, filled to a whole record."""
    return b"\0" * (2 * BLOCK + -(length + 2 * BLOCK) % tarfile.RECORDSIZE)


def read_contents(stream: IO[bytes], where: str) -> Contents:
    """The manifest at the beginning of `stream`. Raises ArtifactError for what is no bundle of this version."""
    first = stream.read(BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        info = tarfile.TarInfo()
    if info.name != NAME or not 0 < info.size <= _LIMIT:
        raise ArtifactError(f"{where} is not a bundle: needed is a file that 'phi4-edge bundle create' wrote")
    raw = stream.read(info.size)
    if first != header(NAME, info.size) or len(raw) != info.size:
        raise ArtifactError(f"{where}: {NAME} was changed or cut off; copy the bundle again")
    contents = decode(raw, where)
    if stream.read(len(padding(info.size))) != padding(info.size):
        raise ArtifactError(f"{where}: {NAME} was changed or cut off; copy the bundle again")
    return contents


def walk(stream: IO[bytes], contents: Contents, where: str) -> Iterator[tuple[str, int]]:
    """Check every member behind the manifest; yield its SHA-256 and the position of its bytes.

    Raises ArtifactError that names the first one that is not what the manifest says, and for anything at the end.
    """
    for member, entry in contents.members:
        name, sha256, size = entry.path, entry.sha256, entry.size
        if stream.read(BLOCK) != header(member, size):
            raise _changed(where, name, "its header is not as written, or the file ends before it")
        position = stream.tell()
        digest = hashlib.sha256()
        left = size
        while left and (block := stream.read(min(_CHUNK, left))):
            digest.update(block)
            left -= len(block)
        if left:
            raise _changed(where, name, f"the file ends {left} bytes before its end")
        if digest.hexdigest() != sha256:
            raise _changed(where, name, f"found sha256 {digest.hexdigest()[:12]}…, needed {sha256[:12]}…")
        if stream.read(len(padding(size))) != padding(size):
            raise _changed(where, name, "what fills its last block is not empty")
        yield sha256, position
    wanted = ending(stream.tell())
    if stream.read(len(wanted) + 1) != wanted:
        raise ArtifactError(f"{where}: its end was changed, cut off or added to; copy the bundle again")


def _changed(where: str, name: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"{where}: {name} was changed or cut off ({what}). Nothing of the bundle was used; copy it again from where it "
        "was made"
    )


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def decode(raw: bytes, where: str) -> Contents:
    """What the bytes of a manifest.json say. Raises ArtifactError where `encode` would not have written them."""
    try:
        document = json.loads(raw)
        version = str(document["phi4_edge_version"])
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, needed {FORMAT!r}")
        contents = Contents(
            version=version,
            files=tuple(_file(line) for line in document["files"]),
            artifacts={str(name): _hex(value) for name, value in document["artifacts"].items()},
            images={str(name): _image(entry) for name, entry in document["images"].items()},
            wheelhouses=tuple(_plain(name) for name in document["wheelhouses"]),
            hosts={str(name): _host(what) for name, what in document["hosts"].items()},
            engines={str(name): str(value) for name, value in document["engines"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{where}: its manifest cannot be used ({error}); create the bundle again") from error
    if version != __version__:
        raise ArtifactError(
            f"{where} was made by phi4-edge {version}, this is {__version__}: create it again with this version, or "
            f"install phi4-edge {version}"
        )
    if contents.encode() != raw:
        raise ArtifactError(f"{where}: {NAME} was changed: it is not what its own digest says; copy the bundle again")
    if len({entry.path for entry in contents.files}) != len(contents.files):
        raise ArtifactError(f"{where}: its manifest names a file twice; create the bundle again")
    return contents


def _file(line: Mapping[str, Any]) -> FileEntry:
    size = line["size"]
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise ValueError(f"size {size!r}")
    return FileEntry(manifest.relative(line["path"]), size, _hex(line["sha256"]))


def _image(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the store's index of images; it goes there as it is, and its digest names a folder."""
    entry = dict(line)
    if not valid(entry) or entry["path"] not in ("", f"images/{entry['digest'].removeprefix('sha256:')}"):
        raise ValueError(f"image {entry!r:.200}")
    return entry


def _host(line: Mapping[str, Any]) -> dict[str, Any]:
    what = dict(line)
    if not all(isinstance(what[name], str) for name in ("engine", "service_manager", "model")):
        raise ValueError(f"host {what!r:.200}")
    return what


def _hex(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{value!r} is not a SHA-256")
    return value


def _plain(name: object) -> str:
    if not isinstance(name, str) or "/" in manifest.relative(name):
        raise ValueError(f"{name!r} is not a folder's name")
    return name


def size_of(contents: Contents) -> int:
    """Bytes of the whole file."""
    raw = len(contents.encode())
    total = BLOCK + raw + len(padding(raw))
    total += sum(BLOCK + entry.size + len(padding(entry.size)) for _, entry in contents.members)
    return total + len(ending(total))


def hashed(stream: IO[bytes], out: IO[bytes]) -> str:
    """Copy `stream` to `out`; SHA-256 of what was copied."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def of_folder(root: Path, folder: Path) -> list[FileEntry]:
    """The files of one folder of the store, its manifest among them, named from the store's root."""
    held = manifest.Manifest.read(folder / manifest.NAME)
    prefix = folder.relative_to(root).as_posix()
    own = folder / manifest.NAME
    entries = [FileEntry(f"{prefix}/{entry.path}", entry.size, entry.sha256) for entry in held.files]
    return [*entries, FileEntry(f"{prefix}/{manifest.NAME}", own.stat().st_size, manifest.sha256_of(own))]
