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

from phi4_edge.artifacts.bundle import bundle, collect, manifest, whole
from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.bundle.manifest import SBOM, Contents
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.signing import shelf
from phi4_edge.artifacts.signing.gate import Gate
from phi4_edge.artifacts.store import files, resources
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import signed, strict_json
from phi4_edge.core.plan.model import Plan
from phi4_edge.core.text import clean
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

_BLOCK = 1 << 20
_SPARE = 100_000_000  # bytes left free beside what is received
# What is offered is a manifest, and what was signed, in one line with its line ends written out.
_OFFER = 2 * (manifest.LARGEST + signed.MOST)
_ANSWER = 1 << 20  # any other line
_PARTS = 6 * manifest.MOST_FILES
_ODD = "{} sent something that is not part of a transfer; is it the same version?"


def send(
    store: Store,
    plans: Iterable[Plan],
    content: Content,
    source: IO[bytes],
    sink: IO[bytes],
    name: str,
    progress: Progress = silent,
) -> int:
    """Everything that `plans`, whose needs are in the store, name is in the store at the other end.

    `name` is what the other end is called. Returns the bytes that were sent. Raises ArtifactError with its words when
    it does not take them, and OSError when the connection ends.
    """
    contents, bill = collect.collect(store, plans, content)
    sites = signed.document({site: shelf.texts(one) for site, one in shelf.read(store).items()})
    _say(sink, {"offer": contents.encode().decode("ascii"), "signed": json.dumps(sites)})
    answer = _heard(source, name)
    try:
        lacking, begin = {str(folder) for folder in answer["lacking"]}, int(answer["from"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(_ODD.format(name)) from error
    if not lacking:
        return 0
    part = only(contents, lacking)
    size = bundle_format.size_of(part)
    if not 0 <= begin <= size:
        raise ArtifactError(f"{name} says that it has {begin} of {size} bytes, which is impossible; run again")
    out = _From(sink, begin)
    bundle.write(store, part, bill, out, lambda done: progress(Event(name, "copying", "", done, size)))
    sink.flush()
    if _heard(source, name).get("done") is not True:
        raise ArtifactError(f"{name} did not confirm that it has everything; run again")
    return size - begin


def receive(
    store: Store,
    content: Content,
    source: IO[bytes],
    sink: IO[bytes],
    progress: Progress = silent,
    gate: Gate | None = None,
) -> None:
    """The other end of `send`: what was offered is in `store`, checked. A transfer that breaks off is gone on with.

    `gate`: where keys are trusted here, one of them signed what is offered, or nothing is taken. Raises ArtifactError
    and OSError, which the sender hears too.
    """
    try:
        offered = Path("what was offered")
        heard = _heard(source, "the sender", _OFFER)
        contents = manifest.decode(str(heard["offer"]).encode(), str(offered))
        bundle.require_ours(contents, content, str(offered))
        if gate is not None:
            presented = signed.decode(str(heard["signed"]), str(offered))
            gate.handed(store, contents, [shelf.given(one) for one in presented.values()], str(offered))
        engine_dir = whole.engine_of(content)
        with store.making("handover", progress):
            lacking = Bundle(offered, contents, {}, engine_dir).lacking(store)
            part = only(contents, lacking)
            path = _parked(store, part)
            if lacking:
                Bundle(offered, contents, {}, engine_dir).require_place(store)
                _take(path, bundle_format.size_of(part), lacking, source, sink)
                _unpack(store, path, content, part, progress)
            else:
                Bundle(offered, part, {}, engine_dir).bring(store)  # what keys stand for, without files
                _say(sink, {"lacking": [], "from": 0})
        _say(sink, {"done": True})
    except (ArtifactError, OSError, KeyError) as error:
        with contextlib.suppress(OSError):  # it may be the connection that ended
            _say(sink, {"error": str(error)})
        if isinstance(error, KeyError):
            raise ArtifactError(_ODD.format("the sender")) from error
        raise


def only(contents: Contents, folders: Collection[str]) -> Contents:
    """What is left when only these folders are to be sent; images that hosts pull themselves need none.

    It says nothing of hosts, which need more than the part that is lacking.
    """
    kept = tuple(
        entry
        for entry in contents.files
        if entry.path == SBOM or any(entry.path.startswith(f"{folder}/") for folder in folders)
    )
    return replace(
        contents,
        files=kept,
        artifacts={name: one for name, one in contents.artifacts.items() if f"artifacts/{one}" in folders},
        images={key: line for key, line in contents.images.items() if not line["path"] or line["path"] in folders},
        wheelhouses=tuple(name for name in contents.wheelhouses if f"wheelhouses/{name}" in folders),
        hosts={},
    )


def _parked(store: Store, part: Contents) -> Path:
    """Where what is received lies until all of it is there; nobody prunes it meanwhile."""
    name = f"handover-{hashlib.sha256(part.encode()).hexdigest()[:32]}"
    store.hold("partial", name)
    return store.root / "partial" / name


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
                raise ArtifactError(f"the connection ended {left} bytes before the end; the next run continues there")
            out.write(block)
            left -= len(block)
        out.flush()
        os.fsync(out.fileno())
    files.sync_folder(path.parent)


def _unpack(store: Store, path: Path, content: Content, part: Contents, progress: Progress) -> None:
    """The store has what came, if it is `part` and nothing else; the file is gone either way."""
    try:
        found = Bundle.open(path, content, progress, part=True)
        if found.contents != part:
            raise ArtifactError("what arrived is not what was offered; run again")
        found.bring(store, progress)
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


def _heard(source: IO[bytes], name: str, longest: int = _ANSWER) -> Mapping[str, Any]:
    line = source.readline(longest)
    try:
        found = strict_json.loads(line, _PARTS, 4)
    except ValueError as error:
        raise ArtifactError(f"{name} closed the connection too early; run again") from error
    if not isinstance(found, dict):
        raise ArtifactError(_ODD.format(name))
    if "error" in found:
        raise ArtifactError(f"{name}: {clean(found['error'], 4000)}")
    return found
