"""Files that people hand us: read within bounds, whatever they are. What is in them is for their reader to judge."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from phi4_edge.core import strict_json

_BLOCK = 1 << 20


class DocumentError(ValueError):
    """A file that cannot be read as what was asked for; says what was found, not in which file."""


def read(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises DocumentError for anything else, at once.

    A link is followed: whoever names the file may name it so.
    """
    try:
        # Opening a FIFO or a device waits for nobody.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return _read(handle, most)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _read(handle: int, most: int) -> bytes:
    found = os.fstat(handle)
    if stat.S_ISDIR(found.st_mode):
        raise DocumentError("it cannot be read (it is a folder)")
    if not stat.S_ISREG(found.st_mode):
        raise DocumentError("it cannot be read (it is not a regular file)")
    if found.st_size > most:
        raise _too_large(most)
    blocks, left = [], most + 1
    while left > 0 and (block := os.read(handle, min(_BLOCK, left))):  # it may grow meanwhile
        blocks.append(block)
        left -= len(block)
    if left <= 0:
        raise _too_large(most)
    return b"".join(blocks)


def read_stdin(most: int) -> bytes:
    """What standard input gives until its end, at most `most` bytes. Raises DocumentError for more."""
    try:
        found = sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise DocumentError(f"it cannot be read ({error.strerror})") from error
    if len(found) > most:
        raise _too_large(most)
    return found


def read_json(path: str | Path, most: int) -> Any:
    """The JSON value in a regular file of at most `most` bytes. Raises DocumentError."""
    return parse(read(path, most))


def parse(raw: bytes) -> Any:
    """The JSON value in `raw`. Raises DocumentError."""
    try:
        return strict_json.loads(raw)
    except ValueError as error:
        raise DocumentError(str(error)) from error


def _too_large(most: int) -> DocumentError:
    size = f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 2**10} KiB"
    return DocumentError(f"found more than {size}")
