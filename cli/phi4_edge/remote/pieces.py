"""How a directory is cut into pieces for a host. No input or output happens here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.manifest import File


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
