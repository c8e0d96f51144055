"""Whether a host's key is the one we know, by the rules of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["known", "unknown", "changed", "authority"]


@dataclass(frozen=True)
class Entry:
    """One key that a file holds for a host."""

    path: Path
    line: int
    marker: str
    kind: str
    blob: bytes


def names(address: str, port: int, alias: str) -> tuple[str, ...]:
    """Under which names ssh looks: the alias alone, or with a port that is not 22 the bracketed form first."""
    if alias:
        return (alias,)
    return (address.lower(),) if port == 22 else (f"[{address.lower()}]:{port}", address.lower())


def entries(paths: Iterable[Path], name: str) -> list[Entry]:
    """All keys that the files hold for a name; files that cannot be read and lines that make no sense hold none."""
    return [entry for path in paths for entry in _book(path).of(name)]


class _Book:
    """A file's keys, found by name: a fleet's file has a line for each of its hosts, and each host is looked up."""

    def __init__(self, lines: Iterable[tuple[str, Entry]] = ()) -> None:
        self._plain: dict[str, list[Entry]] = {}
        self._others: list[tuple[str, Entry]] = []
        for field, entry in lines:
            if _OTHER.search(field):
                self._others.append((field, entry))
            else:
                for plain in set(field.lower().split(",")):
                    self._plain.setdefault(plain, []).append(entry)

    def of(self, name: str) -> list[Entry]:
        """The keys for a name, in the order of the file."""
        found = [*self._plain.get(name, ()), *(entry for field, entry in self._others if matches(field, name))]
        return sorted(found, key=lambda entry: entry.line)


# Hashed names, wildcards and negations.
_OTHER = re.compile(r"^\||[*?!]")


def _book(path: Path) -> _Book:
    try:
        status = path.stat()
    except OSError:
        return _Book()
    return _opened(path, status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(maxsize=16)
def _opened(path: Path, *_stamp: int) -> _Book:
    """The file as it is with this stamp."""
    return _Book(_read(path))


def _read(path: Path) -> Iterator[tuple[str, Entry]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            yield words[0], Entry(path, number, marker, words[1], base64.b64decode(words[2], validate=True))
        except (binascii.Error, ValueError):
            continue


def matches(field: str, name: str) -> bool:
    """Whether the host field of a line (names, wildcards, negations, or one hashed name) stands for `name`."""
    if field.startswith("|1|"):
        try:
            salt, wanted = (base64.b64decode(part) for part in field[3:].split("|"))
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), wanted)
    found = False
    for pattern in field.lower().split(","):
        wanted_not, plain = pattern.startswith("!"), pattern.removeprefix("!")
        if re.fullmatch(re.escape(plain).replace(r"\*", ".*").replace(r"\?", "."), name):
            if wanted_not:
                return False
            found = True
    return found


def judge(known: Iterable[Entry], kind: str, blob: bytes) -> Verdict:
    """What the entries of a host say about the key that it showed.

    "authority": a certificate authority is trusted for it, which only ssh itself can check. A key of a kind that is not
    in the files is unknown, a different key of the same kind is changed, and so is a revoked one.
    """
    listed = list(known)
    if any(entry.marker == "@revoked" and entry.blob == blob for entry in listed):
        return "changed"
    plain = [entry for entry in listed if not entry.marker]
    if any(entry.blob == blob for entry in plain):
        return "known"
    if any(entry.marker == "@cert-authority" for entry in listed):
        return "authority"
    return "changed" if any(entry.kind == kind for entry in plain) else "unknown"


def fingerprint(blob: bytes) -> str:
    """As ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
