"""What an artifact is made of, file by file, and the digest that names it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from phi4_edge.artifacts.store.files import read_plain
from phi4_edge.core import manifest as core_manifest
from phi4_edge.core import strict_json
from phi4_edge.core.manifest import EXECUTABLE, PLAIN, Link
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/manifest/1"
NAME = "manifest.json"
# 250 bytes for each file: more files than any engine or model has. Each is four values, one more for the list.
LARGEST_MANIFEST = 8 << 20
_MOST_PARTS = 5 * LARGEST_MANIFEST // 250
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}/[a-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file: path relative to the artifact, size in bytes, SHA-256 in hex, permissions ("0644" or "0755")."""

    path: str
    size: int
    sha256: str
    mode: str = PLAIN

    def to_dict(self) -> dict[str, Any]:
        """The file's line in manifest.json; ordinary permissions are not written down."""
        line = {"path": self.path, "size": self.size, "sha256": self.sha256}
        return line if self.mode == PLAIN else {**line, "mode": self.mode}


@dataclass(frozen=True)
class Manifest:
    """Everything that is known about one artifact. Equal files have an equal `digest`, wherever they came from."""

    artifact: str
    files: tuple[FileEntry, ...]
    licence: str
    source: Mapping[str, Any] = field(default_factory=dict)
    created_by: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    @property
    def executables(self) -> frozenset[str]:
        """Paths of the files that may be executed."""
        return frozenset(entry.path for entry in self.files if entry.mode == EXECUTABLE)

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted lines `<sha256>  <path>`, and what `manifest.digest` adds for modes and links."""
        files = [core_manifest.File(entry.path, entry.size, entry.sha256, entry.mode) for entry in self.files]
        return core_manifest.digest(files, self.links)

    def to_dict(self) -> dict[str, Any]:
        """The document of manifest.json."""
        document = {
            "format": FORMAT,
            "artifact": self.artifact,
            "source": dict(self.source),
            "created_by": dict(self.created_by),
            "parameters": dict(self.parameters),
            "licence": self.licence,
            "files": [entry.to_dict() for entry in sorted(self.files)],
            "size": self.size,
            "digest": self.digest,
        }
        return {**document, "links": [link.to_dict() for link in sorted(self.links)]} if self.links else document

    @classmethod
    def from_dict(cls, document: object, where: str) -> Manifest:
        """The manifest in `document`. Raises ArtifactError, naming `where`, for anything that is not one."""
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise ArtifactError(f"{where}: not a manifest of format {FORMAT}")
        artifact = document.get("artifact")
        if not isinstance(artifact, str) or not _ARTIFACT.fullmatch(artifact):
            raise ArtifactError(f"{where}: {artifact!r} is not an artifact id such as tiny/onnx-int4")
        files = _files(document.get("files"), where)
        manifest = cls(
            artifact=artifact,
            files=files,
            licence=str(document.get("licence", "")),
            source=_mapping(document, "source", where),
            created_by=_mapping(document, "created_by", where),
            parameters=_mapping(document, "parameters", where),
            links=_links(document.get("links", []), files, where),
        )
        if document.get("digest") != manifest.digest:
            raise ArtifactError(f"{where}: its digest is not that of the files it lists, so it was changed")
        return manifest

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest at `path`. Raises ArtifactError when it is missing, malformed or larger than any of ours."""
        raw = read_plain(path, LARGEST_MANIFEST + 1)
        if raw is None:
            raise ArtifactError(f"{path}: cannot be read as a manifest (no plain file is there)")
        return cls.parse(raw, str(path))

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Manifest:
        """The manifest in the bytes of a manifest.json. Raises ArtifactError, naming `where`, for anything else."""
        try:
            if len(raw) > LARGEST_MANIFEST:
                raise ValueError(f"it has more than {LARGEST_MANIFEST} bytes")
            document = strict_json.loads(raw, _MOST_PARTS)
        except ValueError as error:
            raise ArtifactError(f"{where}: cannot be read as a manifest ({error})") from None
        return cls.from_dict(document, where)


def artifact_id(text: str) -> str:
    """`text` when it is an artifact id `<model>/<variant>`. Raises ArtifactError otherwise."""
    if not _ARTIFACT.fullmatch(text):
        raise ArtifactError(f"{text!r} is not an artifact id; needed <model>/<variant>, such as tiny/onnx-int4")
    return text


def relative(path: str) -> str:
    """`path` when it stays inside the folder it is joined to. Raises ArtifactError for any other name."""
    pure = PurePosixPath(path)
    plain = path == pure.as_posix() and path.isprintable() and "\\" not in path
    if not path or not plain or pure.is_absolute() or any(part in ("..", ".") for part in pure.parts):
        raise ArtifactError(f"{path!r} is not a plain relative file name; the artifact is refused")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of the file at `path`, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe(folder: Path, skip: Iterable[str] = (NAME,)) -> tuple[FileEntry, ...]:
    """Every file below `folder`, hashed, sorted by path.

    Raises ArtifactError for a symbolic link or a special file: only content that is in the folder can be delivered.
    """
    ignored = set(skip)
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in ignored:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(f"{path}: neither a plain file nor a folder; the artifact is refused")
        if path.is_file():
            entries.append(FileEntry(relative(name), path.stat().st_size, sha256_of(path)))
    return tuple(entries)


def describe_tree(folder: Path) -> tuple[tuple[FileEntry, ...], tuple[Link, ...]]:
    """Files, with their permissions, and symbolic links below `folder`; for what is unpacked from an archive.

    Raises ArtifactError for a special file and for a link that leaves the folder.
    """
    links = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links.append(Link(relative(name), str(path.readlink())))
    names = {link.path for link in links}
    entries = tuple(
        replace(entry, mode=EXECUTABLE) if (folder / entry.path).stat().st_mode & 0o100 else entry
        for entry in describe(folder, (NAME, *names))
    )
    _require_links(tuple(links), entries, str(folder))
    return entries, tuple(links)


def damage(folder: Path, wanted: Manifest, deep: bool) -> tuple[str, ...]:
    """What differs below `folder` from what `wanted` says, one line per file or link; empty when it is whole."""
    problems = [_file_damage(folder, entry, deep) for entry in wanted.files]
    for link in wanted.links:
        path = folder / link.path
        found = str(path.readlink()) if path.is_symlink() else "no link"
        problems.append("" if found == link.target else f"{path}: found {found}, needed a link to {link.target}")
    return tuple(problem for problem in problems if problem)


def strangers(folder: Path, wanted: Manifest) -> tuple[str, ...]:
    """Whatever lies below `folder` and is neither in `wanted`, nor its manifest.json, one line each."""
    names = {NAME, *(entry.path for entry in wanted.files), *(link.path for link in wanted.links)}
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in (folders if path.is_dir() and not path.is_symlink() else names):
            found.append(f"{path}: is not part of {wanted.artifact}")
    return tuple(found)


def _file_damage(folder: Path, entry: FileEntry, deep: bool) -> str:
    path = folder / entry.path
    if path.is_symlink() or not path.is_file():
        return f"{path}: missing, needed {entry.size} bytes"
    if (size := path.stat().st_size) != entry.size:
        return f"{path}: {size} bytes, needed {entry.size}"
    if deep and (found := sha256_of(path)) != entry.sha256:
        return f"{path}: sha256 {found[:12]}…, needed {entry.sha256[:12]}…"
    return ""


def _links(raw: object, files: tuple[FileEntry, ...], where: str) -> tuple[Link, ...]:
    if not isinstance(raw, list) or not all(
        isinstance(item, Mapping) and isinstance(item.get("path"), str) and isinstance(item.get("target"), str)
        for item in raw
    ):
        raise ArtifactError(f"{where}: links is not a list of entries with path and target")
    links = tuple(sorted(Link(item["path"], item["target"]) for item in raw))
    _require_links(links, files, where)
    return links


def _require_links(links: tuple[Link, ...], files: tuple[FileEntry, ...], where: str) -> None:
    try:
        core_manifest.check_links(links, [entry.path for entry in files])
    except ValueError as error:
        raise ArtifactError(f"{where}: {error}; only links that stay inside are accepted") from None


def _files(raw: object, where: str) -> tuple[FileEntry, ...]:
    if not isinstance(raw, list) or not raw:
        raise ArtifactError(f"{where}: lists no files")
    entries = []
    for item in raw:
        fields = (item.get("path"), item.get("size"), item.get("sha256")) if isinstance(item, Mapping) else (None,) * 3
        path, size, sha256 = fields
        valid = isinstance(path, str) and type(size) is int and size >= 0 and isinstance(sha256, str)
        if not valid or not _SHA256.fullmatch(str(sha256)):
            raise ArtifactError(f"{where}: {item!r} is not a file entry with path, size and sha256")
        mode = item.get("mode", PLAIN)
        if mode not in (PLAIN, EXECUTABLE):
            raise ArtifactError(f"{where}: {path!r} has mode {mode!r}, needed {PLAIN} or {EXECUTABLE}")
        entries.append(FileEntry(relative(str(path)), int(str(size)), str(sha256), str(mode)))
    if len({entry.path for entry in entries}) != len(entries):
        raise ArtifactError(f"{where}: lists a file twice")
    return tuple(sorted(entries))


def _mapping(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise ArtifactError(f"{where}: {key} is not a mapping")
    return value
