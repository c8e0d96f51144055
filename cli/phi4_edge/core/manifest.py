"""What an artifact is made of: the files and links that its manifest names, and the digest that names them all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phi4_edge.errors import ArtifactError

FORMAT = "phi4-edge/manifest/1"
# Permissions that a file of an artifact may have; the first one is not written down.
PLAIN, EXECUTABLE = "0644", "0755"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """One file of an artifact: path relative to its directory, size in bytes, SHA-256, permissions as for `chmod`."""

    path: str
    size: int
    sha256: str
    mode: str = PLAIN

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, order=True)
class Link:
    """One symbolic link of an artifact; `target` is relative to the link's own folder and stays inside the artifact."""

    path: str
    target: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def digest(files: Sequence[File], links: Sequence[Link] = ()) -> str:
    """SHA-256 over the sorted lines "<sha256>  <path>", as the store names it: an artifact's name is its content.

    An executable adds a line "0755  <path>", a link a line "-> <target>  <path>"; without any the digest is what
    `sha256sum` gives for the files.
    """
    lines = [f"{file.sha256}  {file.path}\n" for file in files]
    lines += [f"{file.mode}  {file.path}\n" for file in files if file.mode != PLAIN]
    lines += [f"-> {link.target}  {link.path}\n" for link in links]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def manifest(text: str, expected: str | None) -> tuple[tuple[File, ...], tuple[Link, ...]]:
    """Files and links that a manifest names. Raises ArtifactError unless its digest is right and the `expected` one."""
    try:
        document = json.loads(text)
        files = tuple(_file(line) for line in document["files"])
        links = tuple(Link(line["path"], line["target"]) for line in document.get("links", ()))
        check_links(links, [file.path for file in files])
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, needed {FORMAT!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"found a manifest that cannot be used ({error}): fetch or convert the artifact again"
        ) from None
    found = digest(files, links)
    if found != (expected or found) or document.get("digest", found) != found:
        raise ArtifactError(
            f"found a manifest of content {found[:16]}, needed {(expected or str(document.get('digest')))[:16]}: "
            "it was changed by hand or damaged; fetch or convert the artifact again"
        )
    return files, links


def check_links(links: Sequence[Link], paths: Sequence[str]) -> None:
    """Raises ValueError unless each link is a plain name, points inside the artifact, and is no folder of another name.

    A file below a link would be written to where the link points.
    """
    names = {link.path for link in links}
    if len(names) != len(links) or names & set(paths):
        raise ValueError("a link has the name of something else")
    for link in links:
        if not _plain(link.path) or not _stays(link):
            raise ValueError(f"link {link.path!r} to {link.target!r}")
    for path in (*paths, *names):
        parts = path.split("/")
        if any("/".join(parts[:depth]) in names for depth in range(1, len(parts))):
            raise ValueError(f"{path!r} lies below a link")


def _plain(path: object) -> bool:
    """Whether `path` is a printable relative name without any step up."""
    return isinstance(path, str) and path.isprintable() and not any(part in ("", ".", "..") for part in path.split("/"))


def _stays(link: Link) -> bool:
    """Whether the target, read from the link's folder, is below the artifact's own folder."""
    if not isinstance(link.target, str) or not link.target.isprintable() or link.target.startswith("/"):
        return False
    parts = link.target.split("/")
    up = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    # Steps up come first: after a part that is itself a link they would begin where that one leads.
    return up <= link.path.count("/") and up < len(parts) and not {"", ".", ".."} & set(parts[up:])


def _file(line: Mapping[str, Any]) -> File:
    path, size, sha256, mode = line["path"], line["size"], line["sha256"], line.get("mode", PLAIN)
    if not _plain(path) or not isinstance(size, int) or size < 0 or not _SHA256.fullmatch(str(sha256)):
        raise ValueError(f"file {path!r}, {size!r} bytes, {sha256!r}")
    if mode not in (PLAIN, EXECUTABLE):
        raise ValueError(f"file {path!r} of mode {mode!r}")
    return File(path, size, str(sha256), mode)
