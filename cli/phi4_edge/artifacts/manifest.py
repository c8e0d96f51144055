"""What an artifact is made of, file by file, and the digest that names it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/manifest/1"
NAME = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}/[a-z0-9][a-z0-9._-]{0,39}")


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file: path relative to the artifact, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything that is known about one artifact. Equal files have an equal `digest`, wherever they came from."""

    artifact: str
    files: tuple[FileEntry, ...]
    licence: str
    source: Mapping[str, Any] = field(default_factory=dict)
    created_by: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted lines `<sha256>  <path>`: what `sha256sum` prints for the files."""
        lines = sorted(f"{entry.sha256}  {entry.path}\n" for entry in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The document of manifest.json."""
        return {
            "format": FORMAT,
            "artifact": self.artifact,
            "source": dict(self.source),
            "created_by": dict(self.created_by),
            "parameters": dict(self.parameters),
            "licence": self.licence,
            "files": [{"path": e.path, "size": e.size, "sha256": e.sha256} for e in sorted(self.files)],
            "size": self.size,
            "digest": self.digest,
        }

    @classmethod
    def from_dict(cls, document: object, where: str) -> Manifest:
        """The manifest in `document`. Raises ArtifactError, naming `where`, for anything that is not one."""
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise ArtifactError(f"{where}: not a manifest of format {FORMAT}")
        artifact = document.get("artifact")
        if not isinstance(artifact, str) or not _ARTIFACT.fullmatch(artifact):
            raise ArtifactError(f"{where}: {artifact!r} is not an artifact id such as tiny/onnx-int4")
        manifest = cls(
            artifact=artifact,
            files=_files(document.get("files"), where),
            licence=str(document.get("licence", "")),
            source=_mapping(document, "source", where),
            created_by=_mapping(document, "created_by", where),
            parameters=_mapping(document, "parameters", where),
        )
        if document.get("digest") != manifest.digest:
            raise ArtifactError(f"{where}: its digest is not that of the files it lists, so it was changed")
        return manifest

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest at `path`. Raises ArtifactError when it is missing or malformed."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path}: cannot be read as a manifest ({error})") from error
        return cls.from_dict(document, str(path))


def artifact_id(text: str) -> str:
    """`text` when it is an artifact id `<model>/<variant>`. Raises ArtifactError otherwise."""
    if not _ARTIFACT.fullmatch(text):
        raise ArtifactError(f"{text!r} is not an artifact id; needed is <model>/<variant>, such as tiny/onnx-int4")
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
        entries.append(FileEntry(relative(str(path)), int(str(size)), str(sha256)))
    if len({entry.path for entry in entries}) != len(entries):
        raise ArtifactError(f"{where}: lists a file twice")
    return tuple(sorted(entries))


def _mapping(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise ArtifactError(f"{where}: {key} is not a mapping")
    return value
