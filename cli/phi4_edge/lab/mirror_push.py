"""Puts an image from a directory into a registry without TLS or account, such as a lab's mirror. No Docker needed."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from phi4_edge.errors import LabError

_SECONDS = 120  # for one answer; the registry hashes a layer before it gives it
_SHA256 = "sha256:"


def push(registry: str, layout: Path, repository: str, tag: str) -> str:
    """`registry` (host:port) has the only image of an OCI layout as `repository:tag` afterwards; returns its digest.

    Raises LabError for what is no such layout, and for what the registry refuses.
    """
    try:
        entry = json.loads((layout / "index.json").read_text(encoding="utf-8"))["manifests"][0]
        manifest = _blob(layout, entry["digest"]).read_bytes()
        document = json.loads(manifest)
        blobs = [document["config"], *document["layers"]]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LabError(f"{layout} is no OCI layout of one image: {error!r}") from error
    connection = http.client.HTTPConnection(registry, timeout=_SECONDS)
    with contextlib.closing(connection), _named(registry):
        for blob in blobs:
            _upload(connection, repository, blob["digest"], _blob(layout, blob["digest"]))
        kind = {"Content-Type": entry["mediaType"]}
        _ask(connection, "PUT", f"/v2/{repository}/manifests/{quote(tag)}", 201, manifest, kind)
    return str(entry["digest"])


@contextlib.contextmanager
def _named(registry: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, LabError):
            raise
        raise LabError(f"the registry {registry} does not answer: {error!r}") from error


def _upload(connection: http.client.HTTPConnection, repository: str, digest: str, path: Path) -> None:
    """The registry has the blob; it is not sent when it had it."""
    connection.request("HEAD", f"/v2/{repository}/blobs/{digest}")
    known = connection.getresponse()
    known.read()
    if known.status == http.HTTPStatus.OK:
        return
    started = _ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
    place = urlsplit(started.headers["Location"])
    target = f"{place.path}?{place.query}{'&' if place.query else ''}digest={quote(digest)}"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
    with path.open("rb") as content:
        _ask(connection, "PUT", target, 201, content, headers)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    wanted: int,
    body: bytes | IO[bytes] | None = None,
    headers: dict[str, Any] | None = None,
) -> http.client.HTTPResponse:
    connection.request(method, target, body, headers or {})
    answer = connection.getresponse()
    said = answer.read(2000).decode("utf-8", "replace")
    if answer.status != wanted:
        raise LabError(f"the registry answered {answer.status} to {method} {target}: {said.strip()}")
    return answer


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix(_SHA256)
