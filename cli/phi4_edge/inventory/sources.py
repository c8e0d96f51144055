"""The sources of an inventory: that each is there, ends, and is text as Ansible reads it."""

from __future__ import annotations

import codecs
import difflib
import stat
from pathlib import Path

from phi4_edge.errors import InventoryError

MOST_BYTES = 16 * 1024 * 1024
YAML = frozenset({".yml", ".yaml", ".json"})
MARK = "begins with a byte order mark: save the file without one (as UTF-8, not UTF-8 with BOM)"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check(path: str) -> None:
    """Raises InventoryError for a source that does not exist, is no file or folder, or is too large to be one."""
    if "," in path:
        return
    if not Path(path).expanduser().exists():
        near = difflib.get_close_matches(Path(path).name, _siblings(path), 1)
        hint = (
            f"did you mean {Path(path).parent / near[0]}?" if near else "give the path of an inventory file or folder"
        )
        raise InventoryError(
            f"found no inventory {path}, needed a file, a folder or a list of hosts like 'a,b,': {hint}"
        )
    _must_end(path)


def _must_end(path: str) -> None:
    """Ansible reads a source to its end, several times: a device or a pipe has none, or none twice."""
    found = Path(path).expanduser().stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InventoryError(
            f"found inventory {path} that is not a regular file, needed a file or a folder: write it to one"
        )
    program = found.st_mode & 0o111
    if stat.S_ISREG(found.st_mode) and not program and found.st_size > MOST_BYTES:
        raise InventoryError(
            f"found inventory {path} of {found.st_size:,} bytes, needed at most {MOST_BYTES:,}: is it an inventory?"
        )


def _siblings(path: str) -> list[str]:
    parent = Path(path).expanduser().parent
    return [entry.name for entry in parent.iterdir()] if parent.is_dir() else []


def absolute(path: str) -> str:
    """The source as Ansible gets it: a list of hosts as it is, a path from the root."""
    return path if "," in path else str(Path(path).expanduser().absolute())


def begin(source: str, count: int = 3) -> bytes:
    """The first bytes of a source; none of one that is no file, or cannot be read."""
    try:
        with Path(source).open("rb") as stream:
            return stream.read(count)
    except (OSError, ValueError):
        return b""


def is_program(source: str) -> bool:
    """Whether the operator means a script: a YAML file is one only with a line that names its interpreter."""
    path = Path(source)
    if begin(source, 2) == b"#!":
        return True
    return path.suffix not in {*YAML, ".ini", ".toml"} and path.is_file() and bool(path.stat().st_mode & 0o111)


def has_mark(source: str) -> bool:
    """Whether Ansible takes a byte order mark for a part of the first line; its YAML reader skips one."""
    return begin(source) == codecs.BOM_UTF8 and Path(source).suffix not in YAML


def is_wide(source: str) -> bool:
    """Whether the text is UTF-16, of which Ansible makes names that nobody wrote."""
    return begin(source, 2) in _WIDE
