"""Host side of the delivery over a URL: fetches the missing pieces of an artifact in parallel ranges.

The hash of every piece came over the connection that this script came over; what the URL serves is held to it before a
byte is written. A file grows in order, as with push.py, which takes over where this one stops, and the other way round:
what lies in the staging directory is read back before it counts, unless this boot has verified it and it is unchanged.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from typing import Iterator, List

from fetchline import LineError, Lines, Piece
from hostlib import (
    BLOCK,
    HostError,
    Json,
    disk_full,
    inside,
    own_directory,
    read_bytes,
    read_json,
    remove_tree,
    stamp,
    write_json,
)
from hostrun import serve
from push import append, full_message, in_place, partial, verify

# After so many bytes the disk is asked to have them, so that the end of a file is no long wait.
SYNC_BYTES = 64 << 20
BOOT = "/proc/sys/kernel/random/boot_id"


def progress_path(args: Json) -> str:
    """Where it is remembered how much of each staged file was verified."""
    return partial(args) + ".fetched.json"


def fetch(args: Json, _payload: bytes) -> Json:
    """As many of the missing pieces are in staging, verified, as `seconds` allow.

    `done`: none is missing any more. `why`: the words of what ended it earlier. `received`: bytes that came and were
    right. A full disk gives the room back, as with push.py.
    """
    own_directory(args["staging"], 0o700)
    try:
        return fetched(args)
    except OSError as error:
        if not disk_full(error):
            raise
        for path in (partial(args), partial(args) + ".json", progress_path(args)):
            remove_tree(path)
        raise HostError(full_message(args), disk_full=True) from None


def fetched(args: Json) -> Json:
    """The same, where the disk has room."""
    good = set(in_place(args))
    files = [wanted for wanted in args["files"] if wanted["path"] not in good and wanted["size"]]
    heads = {wanted["path"]: settled(args, wanted) for wanted in files}
    lines = Lines(args, todo(args, files, heads))
    received, end, unsynced = 0, time.monotonic() + float(args["seconds"]), 0
    try:
        while (found := lines.next(time.monotonic() < end)) is not None:
            piece, data = found
            path = inside(partial(args), piece.path)
            own_directory(os.path.dirname(path), 0o755)
            append(path, piece.offset, data)
            heads[piece.path] = piece.offset + len(data)
            received, unsynced = received + len(data), unsynced + len(data)
            if unsynced >= SYNC_BYTES:
                synced(path)
                unsynced = 0
            if heads[piece.path] == piece.size:
                verify(args, {"path": piece.path, "sha256": piece.sha256}, True)
        done = all(heads[wanted["path"]] == wanted["size"] for wanted in files)
        return {"done": done, "received": received, "why": ""}
    except (LineError, http.client.HTTPException) as error:
        return {"done": False, "received": received, "why": str(error)[:300] or type(error).__name__}
    finally:
        lines.end()
        remember(args, files)


def todo(args: Json, files: List[Json], heads: Json) -> Iterator[Piece]:
    """The pieces that are missing, in order. Raises HostError where the hashes do not cover a file."""
    size = int(args["piece_bytes"])
    for wanted in files:
        hashes = args["pieces"].get(wanted["sha256"], [])
        if len(hashes) != -(-wanted["size"] // size):
            raise HostError(f"found {len(hashes)} hashes of the pieces of {wanted['path']}, needed one for each")
        for index in range(-(-heads[wanted["path"]] // size), len(hashes)):
            offset = index * size
            length = min(size, wanted["size"] - offset)
            yield Piece(wanted["path"], wanted["sha256"], wanted["size"], offset, length, hashes[index])


def settled(args: Json, wanted: Json) -> int:
    """Bytes of the staged file that are verified, whole pieces all; what follows them is gone."""
    path = inside(partial(args), wanted["path"])
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0
    size = int(args["piece_bytes"])
    at = found.st_size
    if at > wanted["size"] or (at != wanted["size"] and at % size) or not remembered(args, wanted["path"], found):
        at = read_back(path, args["pieces"].get(wanted["sha256"], []), min(at, wanted["size"]), wanted["size"], size)
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.ftruncate(handle, at)
        finally:
            os.close(handle)
    if at == wanted["size"]:
        verify(args, wanted, True)
    return at


def read_back(path: str, hashes: List[str], held: int, whole: int, size: int) -> int:
    """Bytes from the start of the file that read back as whole pieces should."""
    good = 0
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        for wanted in hashes:
            length = min(size, whole - good)
            if good + length > held:
                break
            digest, left = hashlib.sha256(), length
            while left:
                block = stream.read(min(BLOCK, left))
                if not block:
                    return good
                digest.update(block)
                left -= len(block)
            if digest.hexdigest() != wanted:
                break
            good += length
    return good


def boot() -> str:
    """Names this boot; a file's stamp says nothing of what a power cut took."""
    return (read_bytes(BOOT, 64) or b"").decode("ascii", "replace").strip()


def remembered(args: Json, name: str, found: os.stat_result) -> bool:
    """Whether all that the staged file holds was verified in this boot, and it has not changed since."""
    document = read_json(progress_path(args))
    if not isinstance(document, dict) or not boot() or document.get("boot") != boot():
        return False
    stamps = document.get("stamps")
    return isinstance(stamps, dict) and stamps.get(name) == stamp(found)


def remember(args: Json, files: List[Json]) -> None:
    """What staging holds now was verified, piece by piece."""
    stamps = {}
    for wanted in files:
        path = inside(partial(args), wanted["path"])
        if os.path.lexists(path):
            stamps[wanted["path"]] = stamp(os.lstat(path))
    write_json(progress_path(args), {"boot": boot(), "stamps": stamps}, 0o600)


def synced(path: str) -> None:
    """The disk has what was written to the file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    serve(globals(), {"fetch": fetch})
