"""What Ollama's own library has of a model, ready to serve: a repository of a registry with a tag for each file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from phi4_edge.core.catalog.fields import Row

# The first twelve digits are what Ollama shows of a digest; fewer would name too many files.
_DIGITS = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """One file: the tag that names it, the first digits (or all 64) of its SHA-256, and its bytes, about."""

    tag: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Library:
    """The files by artifact, such as gguf-q4_K_M, and what each must say of the model to be taken.

    `rotary_dimensions`: how many of each head's are rotated. `context_length`: tokens that it must be made for, at
    least.
    """

    registry: str
    repository: str
    rotary_dimensions: int
    context_length: int
    files: Mapping[str, LibraryFile]

    def reference(self, artifact: str) -> str:
        """Return the name of a file, as people and the store's pins know it."""
        return f"{self.registry}/{self.repository}:{self.files[artifact].tag}"


def read_library(row: Row) -> Library:
    """Return what is in one row; raises CatalogError that names row and field."""
    row.only("registry", "repository", "rotary_dimensions", "context_length", "files")
    return Library(
        registry=row.text("registry"),
        repository=row.text("repository"),
        rotary_dimensions=row.integer("rotary_dimensions"),
        context_length=row.integer("context_length"),
        files=MappingProxyType({name: _file(inner) for name, inner in row.rows("files").items()}),
    )


def _file(row: Row) -> LibraryFile:
    row.only("tag", "sha256", "size")
    sha256 = row.text("sha256")
    if not _DIGITS.fullmatch(sha256):
        row.fail("sha256", "the first 12 hexadecimal digits of the file's SHA-256, or more, in a text")
    return LibraryFile(row.text("tag"), sha256, row.integer("size"))
