"""What plans need goes from the store of a controller into that of another machine, over one stream each way.

Offered is what a bundle would hold; the other side says what it lacks and how much of that it has from a transfer that
broke off. What is sent is a bundle of just that, every byte of which is checked before any of it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from phi4_edge.artifacts import bundle, files, resources
from phi4_edge.artifacts import bundle_format as form
from phi4_edge.artifacts.bundle import Bundle
from phi4_edge.artifacts.bundle_format import Contents
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.progress import Event, Progress, silent
from phi4_edge.artifacts.store import Store
from phi4_edge.errors import ArtifactError

_BLOCK = 1 << 20
_SPARE = 100_000_000  # bytes left free beside what is received
_LONGEST = 64 << 20  # of a line: what is offered is named in one
_ODD = "{} says what is not part of a transfer; is it the same version?"


def send(
    store: Store,
    plans: Iterable[Mapping[str, Any]],
    content: Content,
    source: IO[bytes],
    sink: IO[bytes],
    name: str,
    progress: Progress = silent,
) -> int:
    """Everything that `plans` (dicts, whose needs are in the store) name is in the store at the other end.

    `name` is what the other end is called. Returns the bytes that were sent. Raises ArtifactError with its words when
    it does not take them, and OSError when the connection ends.
    """
    contents, bill = bundle.collect(store, plans, content)
    _say(sink, {"offer": contents.encode().decode("ascii")})
    answer = _heard(source, name)
    try:
        lacking, begin = {str(folder) for folder in answer["lacking"]}, int(answer["from"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(_ODD.format(name)) from error
    if not lacking:
        return 0
    part = only(contents, lacking)
    size = form.size_of(part)
    if not 0 <= begin <= size:
        raise ArtifactError(f"{name} says that it has {begin} of {size} bytes, which cannot be; run again")
    out = _From(sink, begin)
    bundle.write(store, part, bill, out, lambda done: progress(Event(name, "copying", "", done, size)))
    sink.flush()
    if _heard(source, name).get("done") is not True:
        raise ArtifactError(f"{name} did not say that it has everything; run again")
    return size - begin


def receive(store: Store, content: Content, source: IO[bytes], sink: IO[bytes], progress: Progress = silent) -> None:
    """The other end of `send`: what was offered is in `store`, checked. A transfer that breaks off is gone on with.

    Raises ArtifactError and OSError, which the sender hears too.
    """
    try:
        contents = form.decode(str(_heard(source, "the sender")["offer"]).encode("ascii"), "what was offered")
        with store.making("handover", progress):
            lacking = Bundle(Path("what was offered"), contents, {}).lacking(store)
            part = only(contents, lacking)
            path = store.root / "partial" / f"handover-{hashlib.sha256(part.encode()).hexdigest()[:32]}"
            if lacking:
                _take(path, form.size_of(part), lacking, source, sink)
                _unpack(store, path, content, progress)
            else:
                Bundle(Path("what was offered"), part, {}).bring(store)  # what keys stand for, without files
                _say(sink, {"lacking": [], "from": 0})
        _say(sink, {"done": True})
    except (ArtifactError, OSError) as error:
        with contextlib.suppress(OSError):  # it may be the connection that ended
            _say(sink, {"error": str(error)})
        raise


def only(contents: Contents, folders: Collection[str]) -> Contents:
    """What is left when only these folders are to be sent; images that hosts pull themselves need none."""
    kept = tuple(
        entry
        for entry in contents.files
        if entry.path == form.SBOM or any(entry.path.startswith(f"{folder}/") for folder in folders)
    )
    return replace(
        contents,
        files=kept,
        artifacts={name: one for name, one in contents.artifacts.items() if f"artifacts/{one}" in folders},
        images={key: line for key, line in contents.images.items() if not line["path"] or line["path"] in folders},
        wheelhouses=tuple(name for name in contents.wheelhouses if f"wheelhouses/{name}" in folders),
    )


def _take(path: Path, size: int, lacking: list[str], source: IO[bytes], sink: IO[bytes]) -> None:
    """`path` holds all `size` bytes afterwards; what came before a connection broke stays there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as out:
        begin = out.tell()
        if begin > size:
            out.truncate(0)
            begin = 0
        resources.require_disk(path.parent, 2 * size - begin + _SPARE, "what the hosts need")
        _say(sink, {"lacking": lacking, "from": begin})
        left = size - begin
        while left:
            block = source.read(min(left, _BLOCK))
            if not block:
                raise ArtifactError(f"the connection ended {left} bytes before the end; the next run goes on there")
            out.write(block)
            left -= len(block)
        out.flush()
        os.fsync(out.fileno())
    files.sync_folder(path.parent)


def _unpack(store: Store, path: Path, content: Content, progress: Progress) -> None:
    try:
        Bundle.open(path, content, progress).bring(store, progress)
    finally:
        path.unlink(missing_ok=True)  # used, or damaged


class _From:
    """Writes on from a position; what comes before it is at the other end already."""

    def __init__(self, sink: IO[bytes], begin: int) -> None:
        self._sink, self._begin, self._position = sink, begin, 0

    def write(self, block: bytes) -> int:
        skipped = min(max(self._begin - self._position, 0), len(block))
        self._sink.write(memoryview(block)[skipped:])
        self._position += len(block)
        return len(block)

    def tell(self) -> int:
        return self._position


def _say(sink: IO[bytes], line: Mapping[str, Any]) -> None:
    sink.write(json.dumps(line).encode() + b"\n")
    sink.flush()


def _heard(source: IO[bytes], name: str) -> Mapping[str, Any]:
    line = source.readline(_LONGEST)
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ArtifactError(f"{name} ended the connection in the middle; run again") from error
    if not isinstance(found, dict):
        raise ArtifactError(_ODD.format(name))
    if "error" in found:
        raise ArtifactError(f"{name}: {found['error']}")
    return found
