"""Hostile files, made by name: what a reader of documents must refuse at once, in little memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20
Change = Callable[[dict[str, Any]], object]


def _sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(size)

    return make


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _repeated(head: bytes, part: bytes, size: int, tail: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(head + part * (size // len(part)) + tail) and None


# Files that are no document of any kind, whoever reads them.
FILES: dict[str, Callable[[Path], object]] = {
    "empty": _bytes(b""),
    "a folder": lambda path: path.mkdir(),
    "a FIFO that nobody writes": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "a link to nothing": lambda path: path.symlink_to("/nonexistent"),
    "a link to itself": lambda path: path.symlink_to(path),
    "memory of a process": lambda path: path.symlink_to("/proc/self/mem"),
    "a gigabyte of nothing": _sparse(1024 * MIB),
    "zeros": _sparse(16 * MIB),
    "no UTF-8": _bytes(b'{"format": "\xff\xfe"}'),
    "UTF-16": _bytes('{"format": "x"}'.encode("utf-16")),
    "a byte order mark": _bytes(b"\xef\xbb\xbf{}"),
    "a text without end": _bytes(b'{"format": "' + b"x" * (40 * MIB)),
    "quotes": _repeated(b'"', b'\\"', 40 * MIB, b""),
    "many mappings": _repeated(b'{"format":"phi4-edge/plans/1","x":[', b"{},", 40 * MIB, b"{}]}"),
    "many lists": _repeated(b"[", b"[],", 40 * MIB, b"[]]"),
    "many texts": _repeated(b"[", b'"ab",', 40 * MIB, b'""]'),
    "many numbers": _repeated(b"[", b"1.5,", 40 * MIB, b"1]"),
    "many wide characters": _repeated(b'"', "😀".encode(), 40 * MIB, b'"'),
    "a deep nest": _bytes(b"[" * MIB + b"]" * MIB),
    "a deep nest of mappings": _bytes(b'{"a":' * MIB + b"1" + b"}" * MIB),
    "a long number": _bytes(b'{"format": ' + b"9" * MIB + b"}"),
    "an infinite number": _bytes(b'{"format": 1e999}'),
    "a number that is none": _bytes(b'{"format": NaN}'),
    "a name twice": _bytes(b'{"format": "a", "format": "b"}'),
    "half a character": _bytes(b'{"format": "\\ud800"}'),
    "another kind": _bytes(b"7"),
    "another document": _bytes(b'{"format": "phi4-edge/plan/1"}'),
}


def _twice(document: dict[str, Any]) -> None:
    document["plans"] *= 5_000


def _host(name: object) -> Change:
    return lambda document: document["plans"][0].update(host=name)


# Changes to a plan file that is right otherwise; `sealed` ones have their digests made anew.
PLANS: dict[str, Change] = {
    "a host twice": lambda document: document["plans"].append(document["plans"][0]),
    "a host 5,000 times": _twice,
    "a host with a plan and a problem": lambda document: document["problems"][0].update(host="gw1"),
    "an unknown name": lambda document: document.update(approved_by="me"),
    "an unknown name in a plan": lambda document: document["plans"][0].update(approved=True),
    "an unknown name in a part": lambda document: document["plans"][0]["model"].update(also="x"),
    "an unknown name in a problem": lambda document: document["problems"][0].update(wave=1),
    "no digest": lambda document: document.pop("digest"),
    "no digest of a plan": lambda document: document["plans"][0].pop("digest"),
    "no fingerprint": lambda document: document["plans"][0].pop("fingerprint"),
    "no problems": lambda document: document.pop("problems"),
    "plans as a mapping": lambda document: document.update(plans={"gw1": document["plans"][0]}),
    "a plan that is a text": lambda document: document.update(plans=["gw1"]),
    "a host that is a number": _host(7),
    "a host without a name": _host(""),
    "a host that a terminal obeys": _host("gw1\x1b[2J"),
    "a host of two lines": _host("gw1\nadmin: all is well"),
    "a host without end": _host("x" * MIB),
    "a limit that is a list": lambda document: document.update(limit=["gw1"]),
    "an inventory of numbers": lambda document: document.update(inventory=[1]),
    "steps that are a number": lambda document: document["plans"][0].update(steps=7),
    "an image that is a number": lambda document: document["plans"][0].update(image=7),
    "a switch that is nothing": lambda document: document["plans"][0].update(switch=None),
    "another version": lambda document: document.update(format="phi4-edge/plans/2"),
}


def reformed(document: dict[str, Any], change: Change) -> bytes:
    """The document after a change."""
    copied = json.loads(json.dumps(document))
    change(copied)
    return json.dumps(copied).encode()
