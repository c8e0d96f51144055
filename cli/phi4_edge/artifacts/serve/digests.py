"""What each piece of a file of the store hashes to: read once, remembered in the store under the file's own hash.

pieces/<sha256 of the file>.json    made together with a check of the whole file, so the list stands for that content
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/pieces/1"
# What a host checks at once. Four are on their way at a time, so that a cut costs no more than one request of the push
# over Ansible's connection does.
PIECE_BYTES = 4 * 1024 * 1024
_BLOCK = 1 << 20
_LIMIT = 16 << 20  # a list of 70 bytes per piece: files of 900 GiB
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Digests:
    """The lists of one store. Hosts that want the same file wait for one reading of it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "pieces"
        self._guard = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, path: Path, sha256: str, size: int) -> tuple[str, ...]:
        """SHA-256 of each piece of the file at `path`, in order. Raises ArtifactError where it is another content."""
        with self._guard:
            mine = self._making.setdefault(sha256, threading.Lock())
        with mine:
            found = self._known.get(sha256) or self._read(sha256, size)
            if found is None:
                found = _hashed(path, sha256, size)
                self._write(sha256, size, found)
            self._known[sha256] = found
        return found

    def _read(self, sha256: str, size: int) -> tuple[str, ...] | None:
        """The list that was remembered; None where there is none, or one that is not of such a file."""
        try:
            with (self._folder / f"{sha256}.json").open("rb") as stream:
                found = json.loads(stream.read(_LIMIT))
        except (OSError, ValueError, RecursionError):
            return None
        head = {"format": FORMAT, "sha256": sha256, "size": size, "piece_bytes": PIECE_BYTES}
        if not isinstance(found, dict) or any(found.get(name) != value for name, value in head.items()):
            return None
        pieces = found.get("pieces")
        if not isinstance(pieces, list) or len(pieces) != count(size):
            return None
        return tuple(pieces) if all(isinstance(one, str) and _SHA256.fullmatch(one) for one in pieces) else None

    def _write(self, sha256: str, size: int, pieces: tuple[str, ...]) -> None:
        """The list is remembered, where the store can be written; else it is for this run alone."""
        document: dict[str, Any] = {"format": FORMAT, "sha256": sha256, "size": size, "piece_bytes": PIECE_BYTES}
        try:
            self._folder.mkdir(exist_ok=True)
            files.write_json(self._folder / f"{sha256}.json", {**document, "pieces": list(pieces)})
        except OSError:
            return


def count(size: int) -> int:
    """How many pieces a file of `size` bytes has."""
    return -(-size // PIECE_BYTES)


def _hashed(path: Path, sha256: str, size: int) -> tuple[str, ...]:
    whole, pieces, left = hashlib.sha256(), [], size
    with path.open("rb") as stream:
        while left > 0:
            piece, room = hashlib.sha256(), min(PIECE_BYTES, left)
            while room:
                block = stream.read(min(_BLOCK, room))
                if not block:
                    raise _damaged(path, sha256)
                whole.update(block)
                piece.update(block)
                room -= len(block)
                left -= len(block)
            pieces.append(piece.hexdigest())
        if stream.read(1) or whole.hexdigest() != sha256:
            raise _damaged(path, sha256)
    return tuple(pieces)


def _damaged(path: Path, sha256: str) -> ArtifactError:
    return ArtifactError(
        f"{path} on the controller is not what its manifest says: found other content, needed sha256 {sha256}; "
        "run: phi4-edge model verify, then fetch or convert it again"
    )
