"""A stand-in for the model hub on loopback: the part of its HTTP API that a pinned download uses.

Speaks: `GET /api/models/<repo>/revision/<commit>?blobs=true`; `HEAD|GET /<repo>/resolve/<commit>/<path>` with
X-Repo-Commit, ETag, and for large files a 302 with X-Linked-Size and X-Linked-Etag to a storage address that serves
byte ranges; X-Error-Code on 404. Leaves out: branches, authentication, Xet, pagination. What breaks the contract
(another method, an unknown path, a file that holds code) is answered with an error and kept in `violations`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "someone/tiny-phi"
COMMIT = "1234567890abcdef1234567890abcdef12345678"
_LARGE = (".safetensors", ".bin", ".onnx", ".data", "tokenizer.json")


@dataclass
class StandinHub:
    """The hub's content, the faults it shall show, and what it was asked."""

    files: dict[str, bytes]
    repo: str = REPO
    commit: str = COMMIT
    # Faults: close the connection after so many bytes of storage; answer so many requests with 503; lie about content.
    cut_after: list[int] = field(default_factory=list)
    unavailable: int = 0
    tampered: dict[str, bytes] = field(default_factory=dict)
    ignore_ranges: bool = False
    served_commit: str = ""
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    sent: int = 0

    def __enter__(self) -> StandinHub:
        hub = self

        class Handler(_Handler):
            content = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def info(self) -> dict[str, object]:
        """The document that `model_info` reads."""
        siblings = []
        for name, content in self.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob(content)}
            if name.endswith(_LARGE):
                entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"_id": "1", "id": self.repo, "modelId": self.repo, "sha": self.commit, "siblings": siblings}


def sha256(content: bytes) -> str:
    """Hex SHA-256, the hub's name for a large file."""
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    """git's SHA-1, the hub's name for a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: StandinHub

    def log_message(self, format: str, *args: object) -> None:
        return None

    def do_HEAD(self) -> None:
        self._route(head=True)

    def do_GET(self) -> None:
        self._route(head=False)

    def _route(self, head: bool) -> None:
        hub, url = self.content, urlsplit(self.path)
        hub.requests.append(f"{self.command} {unquote(url.path)}")
        hub.agents.add(self.headers.get("User-Agent", ""))
        hub.tokens.add(self.headers.get("Authorization", ""))
        if hub.unavailable > 0:
            hub.unavailable -= 1
            self._answer(503, b"try later", head)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", url.path):
            if self._known(match[1], match[2], head):
                self._info(parse_qs(url.query), head)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(url.path)):
            if self._known(match[1], match[2], head):
                self._resolve(match[3], head)
        elif match := re.fullmatch(r"/storage/([0-9a-f]{64})", url.path):
            self._storage(match[1], head)
        else:
            self._broken(f"unknown path {url.path}", head)

    def _info(self, query: dict[str, list[str]], head: bool) -> None:
        if query.get("blobs", [""])[0].lower() != "true":
            self._broken("a listing without blobs has no hashes", head)
        else:
            self._answer(200, json.dumps(self.content.info()).encode(), head)

    def _resolve(self, name: str, head: bool) -> None:
        hub = self.content
        headers = {"X-Repo-Commit": hub.served_commit or hub.commit}
        if name.endswith((".py", ".bin", ".pkl")):
            self._broken(f"{name} holds code and was asked for", head)
        elif name not in hub.files:
            self._answer(404, b"", head, {"X-Error-Code": "EntryNotFound"})
        elif name.endswith(_LARGE):
            name256, size = sha256(hub.files[name]), len(hub.files[name])
            headers |= {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{name256}"'}
            self._answer(302, b"", head, {**headers, "Location": f"{hub.url}/storage/{name256}"})
        else:
            content = hub.files[name]
            self._bytes(hub.tampered.get(name, content), head, {**headers, "ETag": f'"{blob(content)}"'})

    def _storage(self, name: str, head: bool) -> None:
        hub = self.content
        found = [path for path, content in hub.files.items() if sha256(content) == name]
        if found:
            content = hub.tampered.get(found[0], hub.files[found[0]])
            self._bytes(content, head, {"ETag": f'"{name}"'})
        else:
            self._broken(f"no such storage object {name}", head)

    def _bytes(self, content: bytes, head: bool, headers: dict[str, str]) -> None:
        wanted = self.headers.get("Range", "")
        if wanted:
            self.content.ranges.append(wanted)
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        if match and not self.content.ignore_ranges:
            start = int(match[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._answer(206, content[start:], head, headers)
        else:
            self._answer(200, content, head, headers)

    def _known(self, repo: str, commit: str, head: bool) -> bool:
        code = "RepoNotFound" if repo != self.content.repo else "RevisionNotFound"
        if repo == self.content.repo and commit == self.content.commit:
            return True
        self._answer(404, b"", head, {"X-Error-Code": code})
        return False

    def _broken(self, what: str, head: bool) -> None:
        self.content.violations.append(what)
        self._answer(400, what.encode(), head)

    def _answer(self, status: int, body: bytes, head: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if head:
            return
        if self.path.startswith("/storage/") and self.content.cut_after:
            body = body[: self.content.cut_after.pop(0)]
            self.close_connection = True
        self.content.sent += len(body)
        with contextlib.suppress(ConnectionError):  # a client that is killed in a test
            self.wfile.write(body)
