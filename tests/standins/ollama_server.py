"""Serves the stand-in's release and image on this machine's loopback, as GitHub and a registry would serve real ones.

As a program it puts the release for this machine into the store of PHI4_EDGE_STORE, the way that `provision` does it.
A store that has the stand-in is for tests alone: it is as good as Ollama there until it is made again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.standins import ollama_release

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# Content and type of what is asked for; None: there is no such thing.
Answer = Callable[[str], "tuple[bytes, str] | None"]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """Address (host:port) of a server that answers GET and HEAD while this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = answer(self.path.split("?")[0])
            data, kind = found or (b"", "text/plain")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if kind == MANIFEST:
                self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(data).hexdigest())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def release(machine: str = "x86_64") -> Iterator[dict[str, str]]:
    """Environment variables with which the stand-in's release is fetched instead of Ollama's, checked like it."""
    with TemporaryDirectory() as folder:
        assets = {path.name: path.read_bytes() for path in ollama_release.release(Path(folder), machine).iterdir()}

    def answer(path: str) -> tuple[bytes, str] | None:
        data = assets.get(path.rpartition("/")[2])
        return None if data is None else (data, "application/octet-stream")

    hashes = [f"{name}={hashlib.sha256(data).hexdigest()}" for name, data in assets.items() if name.endswith(".zst")]
    with served(answer) as address:
        yield {"PHI4_EDGE_OLLAMA_URL": f"http://{address}", "PHI4_EDGE_OLLAMA_SHA256": ",".join(hashes)}


@contextmanager
def registry(machine: str = "x86_64") -> Iterator[str]:
    """Address for `phi4_image_mirror`; whatever image it is asked for is the stand-in's."""
    manifest, blobs = ollama_release.registry_image(machine)

    def answer(path: str) -> tuple[bytes, str] | None:
        if path == "/v2/":
            return b"{}", "application/json"
        if "/manifests/" in path:
            return manifest, MANIFEST
        blob = blobs.get(path.rpartition("/")[2])
        return None if blob is None else (blob, "application/octet-stream")

    with served(answer) as address:
        yield address


def main() -> None:
    """The store has the release for a gateway of this machine's kind without a GPU."""
    from phi4_edge.artifacts.fetch import ollama
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.data import load_catalog

    catalog, machine = load_catalog(), platform.machine()
    with release(machine) as settings:
        os.environ.update(settings)
        name = f"ollama/{catalog.engines['ollama'].version}-{machine}-cpu"
        sys.stdout.write(f"{name} {ollama.ensure(Store(), catalog, name)}\n")


if __name__ == "__main__":
    main()
