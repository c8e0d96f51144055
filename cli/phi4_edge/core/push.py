"""How a directory is cut into pieces for a host, and what its manifest must say. No input or output happens here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/manifest/1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """One file of an artifact: path relative to its directory, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Piece:
    """Bytes `offset` to `offset + length` of a file."""

    file: File
    offset: int
    length: int

    def to_dict(self, sha256: str) -> dict[str, Any]:
        """The piece as the host is told of it; `sha256` is that of its bytes."""
        size, whole = self.file.size, self.file.sha256
        return {
            "path": self.file.path, "offset": self.offset, "length": self.length,
            "sha256": sha256, "size": size, "file_sha256": whole,
        }  # fmt: skip


def digest(files: Sequence[File]) -> str:
    """SHA-256 over the sorted lines "<sha256>  <path>", as the store names it: an artifact's name is its content."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest(text: str, expected: str | None) -> tuple[File, ...]:
    """The files that a manifest names. Raises ArtifactError unless its digest is right, and the `expected` one."""
    try:
        document = json.loads(text)
        files = tuple(_file(line) for line in document["files"])
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, needed {FORMAT!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"found a manifest that cannot be used ({error}): fetch or convert the artifact again"
        ) from None
    found = digest(files)
    if found != (expected or found) or document.get("digest", found) != found:
        raise ArtifactError(
            f"found a manifest of content {found[:16]}, needed {(expected or str(document.get('digest')))[:16]}: "
            "it was changed by hand or damaged; fetch or convert the artifact again"
        )
    return files


def _file(line: Mapping[str, Any]) -> File:
    path, size, sha256 = line["path"], line["size"], line["sha256"]
    plain = isinstance(path, str) and not any(part in ("", ".", "..") for part in path.split("/"))
    if not plain or not isinstance(size, int) or size < 0 or not _SHA256.fullmatch(str(sha256)):
        raise ValueError(f"file {path!r}, {size!r} bytes, {sha256!r}")
    return File(path, size, str(sha256))


def batches(files: Sequence[File], have: Mapping[str, int], limit: int) -> Iterator[tuple[Piece, ...]]:
    """What to send, in requests of at most `limit` bytes: `have` names the wanted files and the bytes already there.

    Small files share a request; a large file takes several, and each request's pieces end where the next begin.
    """
    batch: list[Piece] = []
    room = limit
    for file in files:
        offset = have.get(file.path, file.size)
        while offset < file.size:
            length = min(room, file.size - offset)
            batch.append(Piece(file, offset, length))
            offset += length
            room -= length
            if room == 0:
                yield tuple(batch)
                batch, room = [], limit
    if batch:
        yield tuple(batch)
