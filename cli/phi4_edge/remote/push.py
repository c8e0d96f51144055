"""Makes a directory on a host equal to one on the controller, in verified pieces, resumable after any cut."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge.core import manifest, wheel_lock
from phi4_edge.core.manifest import File
from phi4_edge.errors import ArtifactError, FactsError, HostFailedError
from phi4_edge.remote.engine import lock
from phi4_edge.remote.pieces import Piece, batches
from phi4_edge.remote.ranges import Carrier

PROGRESS_SECONDS = 5.0
# One operation of the host's push.py: (what, arguments, payload) → its answer.
Ask = Callable[[str, Mapping[str, Any], bytes], Mapping[str, Any]]


@dataclass(frozen=True)
class Order:
    """What shall be where: `source` on the controller, `destination` and `staging` on the host; sizes in bytes.

    `rate`: bytes per second that are sent at most; 0 sets no limit.
    `digest`: of the content that is wanted, "" for what the manifest says. `skip`: files that the host does without.
    `wheels`: {"python": "3.13", "architecture": uname's} where they are the engine's, and held to its lock.
    """

    name: str
    source: Path
    destination: str
    staging: str
    piece_bytes: int
    reserve_bytes: int
    rate: int = 0
    digest: str = ""
    skip: frozenset[str] = field(default_factory=frozenset)
    wheels: Mapping[str, str] = field(default_factory=dict)


def push(
    order: Order, ask: Ask, say: Callable[[str], None], check: bool, carrier: Carrier | None = None
) -> dict[str, Any]:
    """What was sent: `changed`, `sent` in bytes, `msg`. `check`: nothing is. `carrier`: tried before the pieces.

    Raises ArtifactError where the artifact is not whole on the controller, HostFailedError where the host has no room
    or does not keep what it is given, FactsError where it speaks of files that it was not told of.
    """
    files, links = contents(order)
    common = {
        "name": order.name, "destination": order.destination, "staging": order.staging,
        "digest": manifest.digest(files, links), "files": [file.to_dict() for file in files],
        "links": [link.to_dict() for link in links],
    }  # fmt: skip
    there = ask("survey", common, b"")
    if there["complete"]:
        return {"changed": False, "sent": 0, "msg": f"{order.name} is already there"}
    have = told(files, there["have"])
    missing = sum(file.size - have.get(file.path, file.size) for file in files)
    room(order, missing, int(there["free"]))
    if check:
        return {"changed": True, "sent": 0, "msg": f"{order.name}: {missing} bytes would be sent"}
    lacking = [file for file in files if file.path in have]
    if carrier is not None and carrier.carry(order.source, common, lacking, missing):
        have = told(files, ask("survey", common, b"")["have"])
    carried = missing - sum(file.size - have.get(file.path, file.size) for file in files)
    sending = Sending(order, common, ask, say)
    sent = carried + sending.send(files, have)
    bad = told(files, dict.fromkeys(ask("finish", common, b"")["bad"], 0))
    if bad:  # what an earlier, interrupted run had left was damaged; it was removed and is sent once more
        sent += sending.send(files, bad)
        bad = told(files, dict.fromkeys(ask("finish", common, b"")["bad"], 0))
    if bad:
        raise HostFailedError(
            f"{order.name}: {', '.join(bad)} reads back differently from what was written twice: "
            "check the host's disk and memory"
        )
    return {"changed": True, "sent": sent, "files": len(files), "msg": f"{order.name}: {sent} bytes sent"}


def contents(order: Order) -> tuple[tuple[File, ...], tuple[manifest.Link, ...]]:
    """Files and links that the host shall have, after the sizes of those on the controller were compared."""
    document = order.source / "manifest.json"
    if not document.is_file():
        raise ArtifactError(
            f"found no {order.name} on the controller, needed it in {order.source}; no host was changed. Run: "
            "phi4-edge provision (which makes what is missing), or phi4-edge model fetch and model convert"
        )
    files, links = manifest.manifest(document.read_text(), order.digest or None)
    if order.wheels:
        held = {file.path: file.sha256 for file in files}
        wheel_lock.require(lock(order.wheels["python"]), order.wheels["architecture"], held, order.name)
    files = tuple(file for file in files if file.path not in order.skip)
    for file in files:
        path = order.source / file.path
        found = path.stat().st_size if path.is_file() else None
        if found != file.size:
            raise ArtifactError(
                f"{order.name} is damaged on the controller: {path} has "
                f"{'no file' if found is None else f'{found} bytes'}, needed {file.size}; no host was changed. Run: "
                "phi4-edge model verify, then fetch or convert it again"
            )
    return files, links


def told(files: Sequence[File], have: Mapping[str, int]) -> dict[str, int]:
    """Bytes that the host has of the files that it was told of. Raises FactsError where it speaks of any other."""
    sizes = {file.path: file.size for file in files}
    for path, size in have.items():
        if size > sizes.get(path, -1):
            raise FactsError(
                f"found an invalid answer from the host (push: {size} bytes of {path[:200]!r}), needed "
                "no more than it was sent: look at what answers there"
            )
    return dict(have)


def room(order: Order, missing: int, free: int) -> None:
    """Raises HostFailedError, before the first byte, when the host's disk cannot take what is missing."""
    need = missing + order.reserve_bytes
    if missing and free < need:
        raise HostFailedError(
            f"not enough disk for {order.name}: found {free} bytes free at {order.staging}, needed {need} "
            f"({missing} to send, {order.reserve_bytes} to spare): free some space on the host"
        )


@dataclass
class Sending:
    """Sends what is missing; every file is hashed as it is read, and its last piece waits for the right hash."""

    order: Order
    common: Mapping[str, Any]
    ask: Ask
    say: Callable[[str], None]

    def send(self, files: Sequence[File], have: Mapping[str, int]) -> int:
        """Bytes sent."""
        reader = _Reader(self.order.source, have)
        total = sum(file.size - have[file.path] for file in files if file.path in have)
        sent, shown = 0, time.monotonic()
        for batch in batches(files, have, self._request_bytes()):
            began = time.monotonic()
            blocks = [reader.read(piece) for piece in batch]
            pieces = [
                piece.to_dict(hashlib.sha256(block).hexdigest()) for piece, block in zip(batch, blocks, strict=True)
            ]
            self._store(pieces, b"".join(blocks))
            length = sum(piece.length for piece in batch)
            sent += length
            if self.order.rate:
                time.sleep(max(0.0, length / self.order.rate - (time.monotonic() - began)))
            if time.monotonic() - shown >= PROGRESS_SECONDS:
                shown = time.monotonic()
                self.say(f"{self.order.name} {sent * 100 // max(total, 1)} % of {total} bytes")
        return sent

    def _request_bytes(self) -> int:
        """Bytes of one request: with a bandwidth no more than a second of it, for within a request nothing waits."""
        return min(self.order.piece_bytes, self.order.rate) if self.order.rate else self.order.piece_bytes

    def _store(self, pieces: list[dict[str, Any]], payload: bytes) -> None:
        for _attempt in range(3):
            answer = self.ask("store", {**self.common, "pieces": pieces}, payload)
            if "damaged" not in answer:
                return
            if answer["damaged"] not in {piece["path"] for piece in pieces}:
                raise FactsError(
                    f"found an invalid answer from the host (store: {answer['damaged'][:200]!r} was not "
                    "sent), needed a file that was: look at what answers there"
                )
        raise HostFailedError(
            f"found {answer['damaged']} damaged on the way three times, needed it as it was sent: check the network"
        )


class _Reader:
    """Reads pieces of the controller's files in order and holds each file to its manifest's hash."""

    def __init__(self, source: Path, have: Mapping[str, int]) -> None:
        self._source, self._have = source, have
        self._path: str | None = None

    def read(self, piece: Piece) -> bytes:
        path = self._source / piece.file.path
        with path.open("rb") as stream:
            if self._path != piece.file.path:
                self._path, self._hash = piece.file.path, hashlib.sha256()
                for start in range(0, piece.offset, 1 << 20):
                    self._hash.update(stream.read(min(1 << 20, piece.offset - start)))
            stream.seek(piece.offset)
            block = stream.read(piece.length)
        self._hash.update(block)
        last = piece.offset + piece.length == piece.file.size
        if len(block) != piece.length or (last and self._hash.hexdigest() != piece.file.sha256):
            raise ArtifactError(
                f"{path} on the controller is not what its manifest says: found other content, needed sha256 "
                f"{piece.file.sha256}; run: phi4-edge model verify, then fetch or convert it again"
            )
        return block
