"""A model as its maker published it for one engine: a folder of a repository, each file pinned by size and SHA-256."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from phi4_edge.core.catalog.fields import Row

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
# What a file may be called, and a folder of a repository.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_FOLDER = re.compile(rf"{_NAME.pattern}(?:/{_NAME.pattern})*")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """What a file has to be: size in bytes, SHA-256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """A folder `path` of the repository `repo` at one commit, and its files by name."""

    repo: str
    revision: str
    path: str
    files: Mapping[str, PublishedFile]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())


def read_published(row: Row) -> Published:
    """Return the publication that `row` describes; raises CatalogError that names the field."""
    row.only("repo", "revision", "path", "files")
    if not _REVISION.fullmatch(row.text("revision")):
        row.fail("revision", "the 40 hexadecimal digits of a commit")
    if not _FOLDER.fullmatch(row.text("path")):
        row.fail("path", "a folder of the repository")
    return Published(
        repo=row.text("repo"),
        revision=row.text("revision"),
        path=row.text("path"),
        files=MappingProxyType({name: _file(name, inner) for name, inner in row.rows("files").items()}),
    )


def _file(name: str, row: Row) -> PublishedFile:
    row.only("size", "sha256")
    if not _NAME.fullmatch(name):
        row.fail("name", "the plain name of a file")
    if not _SHA256.fullmatch(row.text("sha256")):
        row.fail("sha256", "64 hexadecimal digits")
    return PublishedFile(row.integer("size"), row.text("sha256"))
