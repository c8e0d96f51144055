"""A stand-in for a container registry: real HTTP, the real rules of the Registry API v2, and faults on request.

Enforced as registries do: tokens with the right scope, media types that the client accepts, ranges, digests as names.
Left out: pushing, tag lists, catalogues. `docker-registry` itself is used where that can be had (test_registry_real).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from phi4_edge.artifacts.images.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from phi4_edge.core.plan.model import PlannedImage

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def name_of(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def tar(files: dict[str, bytes]) -> bytes:
    """One layer, not compressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


class StandinRegistry:
    """What the registry holds, what it is asked to do wrong, and what it saw."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.server_address[1]}"
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.token = ""
        self.user = ""
        self.answers: list[int] = []
        self.cut: dict[str, int] = {}
        self.flip: set[str] = set()
        self.extra = b""
        self.ranges = True
        self.blobs_at = ""

    def add(
        self, repository: str, tag: str, layers: Sequence[dict[str, bytes]], architectures: Sequence[str] = ("amd64",),
        environment: Sequence[str] = (), **changes: Any,
    ) -> dict[str, str]:  # fmt: skip
        """An image for each architecture under one index; digest of each manifest by architecture."""
        digests = {name: self.manifest(repository, layers, name, environment, **changes) for name in architectures}
        listed = [
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(self.documents[f"{repository}@{digest}"][1]),
             "platform": {"os": "linux", "architecture": name}} for name, digest in digests.items()
        ]  # fmt: skip
        attestation = {"mediaType": OCI_MANIFEST, "digest": name_of(b"x"), "size": 1}
        listed.append({**attestation, "platform": {"os": "unknown", "architecture": "unknown"}})
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        self.put(repository, tag, OCI_INDEX, raw)
        return digests

    def manifest(
        self, repository: str, layers: Sequence[dict[str, bytes]], architecture: str, environment: Sequence[str] = (),
        **changes: Any,
    ) -> str:  # fmt: skip
        plain = [tar(files) for files in layers]
        packed = [gzip.compress(layer, mtime=0) for layer in plain]
        config = json.dumps({
            "os": "linux", "architecture": architecture, "config": {"Env": list(environment), "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [name_of(layer) for layer in plain]},
        }).encode()  # fmt: skip
        self.blobs |= {name_of(blob): blob for blob in (*packed, config)}
        document = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG, "digest": name_of(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": name_of(blob), "size": len(blob)} for blob in packed],
            **changes,
        }  # fmt: skip
        raw = json.dumps(document).encode()
        kind = str(document["mediaType"])
        return self.put(repository, name_of(raw), kind, raw)

    def put(self, repository: str, reference: str, kind: str, raw: bytes) -> str:
        for name in (reference, name_of(raw)):
            self.documents[f"{repository}@{name}"] = (kind, raw)
        return name_of(raw)

    def paths(self, part: str) -> list[str]:
        """Paths that were asked for, with `part` in them."""
        return [path for path, _headers in self.seen if part in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: StandinRegistry

    def log_message(self, *_args: Any) -> None:
        """Not to the terminal."""

    def do_GET(self) -> None:
        at = self.registry
        at.seen.append((self.path, dict(self.headers.items())))
        path = urlsplit(self.path)
        if path.path == "/token":
            return self._token(parse_qs(path.query))
        repository, kind, name = path.path.removeprefix("/v2/").rsplit("/", 2)
        if at.token and self.headers.get("Authorization") != f"Bearer {at.token}":
            challenge = f'Bearer realm="http://{at.host}/token",service="standin",scope="repository:{repository}:pull"'
            return self._say(401, b"", **{"WWW-Authenticate": challenge})
        if at.answers and (status := at.answers.pop(0)) != 200:
            return self._say(status, b"")
        return self._document(repository, name) if kind == "manifests" else self._blob(name)

    def _token(self, query: dict[str, list[str]]) -> None:
        at = self.registry
        basic = "Basic " + base64.b64encode(at.user.encode()).decode()
        if at.user and self.headers.get("Authorization") != basic:
            return self._say(401, b"")
        if query.get("service") != ["standin"] or not query["scope"][0].endswith(":pull"):
            return self._say(400, b"")
        return self._say(200, json.dumps({"token": at.token}).encode())

    def _document(self, repository: str, name: str) -> None:
        kind, raw = self.registry.documents.get(f"{repository}@{name}", ("", b""))
        accepted = [part.split(";")[0].strip() for part in self.headers.get("Accept", "").split(",")]
        if not raw or (kind not in accepted and kind.endswith("+json") and "v1+pretty" not in kind):
            return self._say(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        return self._say(200, raw, **{"Content-Type": kind})

    def _blob(self, name: str) -> None:
        at = self.registry
        if at.blobs_at:
            return self._say(307, b"", Location=f"http://{at.blobs_at}{self.path}")
        raw = at.blobs.get(name)
        if raw is None:
            return self._say(404, b"")
        if name in at.flip:
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        start, wanted = 0, self.headers.get("Range", "")
        if wanted and at.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        body = raw[start:] + at.extra
        more = {"Content-Range": f"bytes {start}-{len(raw) - 1}/{len(raw)}"} if start else {}
        return self._say(206 if start else 200, body, self.registry.cut.pop(name, None), **more)

    def _say(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[StandinRegistry]:
    """A running stand-in, with TLS where it is given."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    handler.registry = StandinRegistry(server)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield handler.registry  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def planned(repository: str, tag: str = "1.0", architecture: str = "amd64", digest: str | None = None) -> PlannedImage:
    """A plan's `image`."""
    name = f"{repository}:{tag}"
    return PlannedImage(repository, tag, architecture, f"{name}/{architecture}", digest, name, "", 1)


__all__ = ["CONFIG", "DOCKER_MANIFEST", "LAYER", "StandinRegistry", "name_of", "planned", "serving", "tar"]
