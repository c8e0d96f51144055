"""The HTTP side: routes, methods, bodies, NDJSON and server-sent events (server/routes.go, through gin)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import chat, create, names, openai, settings, store
from .create import RefusedError
from .models import Model
from .scheduler import Scheduler

Json = dict[str, Any]
TAGS = {"model": str, "name": str, "verbose": bool, "stream": bool, "insecure": bool}
LOCAL_NAMES = (".localhost", ".local", ".internal")


class Server(ThreadingHTTPServer):
    """Serves OLLAMA_HOST until it is told to stop."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.scheduler = Scheduler()
        super().__init__(address, Handler)

    def server_close(self) -> None:
        """No runner is left behind."""
        self.scheduler.close()
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_GET(self) -> None:
        self.dispatch()

    do_HEAD = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_GET  # noqa: N815

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """One line for each answer, in the columns that gin has."""
        took = f"{(time.monotonic() - self.began) * 1000:.3f}ms"
        when, status = time.strftime("%Y/%m/%d - %H:%M:%S"), int(code)
        settings.log(
            f'[GIN] {when} | {status:3d} | {took:>13} | {self.client_address[0]:>15} | {self.command:<8} "{self.path}"'
        )

    def log_message(self, format: str, *args: Any) -> None:
        settings.log(f'level=WARN msg="{format % args}"')

    def dispatch(self) -> None:
        """Find the route and answer; whatever is wrong becomes an answer too."""
        self.began = time.monotonic()
        path = self.path.split("?")[0]
        self.wrong: Callable[[str, int], Json] = openai.error if path.startswith("/v1/") else plain
        try:
            if not self.allowed():
                self.reply(403, b"", "text/plain")
                return
            if path.startswith("/api/blobs/"):
                self.blob(path[len("/api/blobs/") :])
                return
            if path.startswith("/v1/models/"):
                self.single(path[len("/v1/models/") :])
                return
            methods = ROUTES.get(path)
            if methods is None:
                self.reply(404, b"404 page not found", "text/plain")
            elif self.command not in methods:
                self.reply(405, b"405 method not allowed", "text/plain")
            else:
                methods[self.command](self)
        except RefusedError as error:
            self.close_connection = True
            self.json(self.wrong(str(error), error.status), error.status)

    def allowed(self) -> bool:
        """On loopback only names of this machine are answered: what stops a web page that rebinds its name."""
        if not str(self.server.server_address[0]).startswith("127."):
            return True
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0].lower()
        local = host in ("", "localhost", socket.gethostname().lower()) or host.endswith(LOCAL_NAMES)
        return local or (host.strip("[]").replace(".", "").replace(":", "").isalnum() and host[0] in "0123456789[")

    def body(self, fields: dict[str, Any]) -> Json:
        """The request's JSON. Raises RefusedError in Go's words; unknown fields are ignored, as there."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not data:
            raise RefusedError("missing request body", 400)
        try:
            found = json.loads(data)
        except ValueError:
            raise RefusedError(f"invalid character {chr(data[0])!r} looking for beginning of value", 400) from None
        if not isinstance(found, dict):
            raise RefusedError("json: cannot unmarshal into Go value", 400)
        found = {name: value for name, value in found.items() if value is not None}
        for name, kind in fields.items():
            if name in found and (not isinstance(found[name], kind) or (isinstance(found[name], bool) and kind is int)):
                raise RefusedError(f"json: cannot unmarshal into Go struct field {name}", 400)
        return found

    def reply(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, document: Json, status: int = 200) -> None:
        self.reply(status, json.dumps(document).encode(), "application/json; charset=utf-8")

    def stream(self, kind: str, pieces: Iterator[bytes]) -> None:
        """The pieces as chunks; the first one is made before the status is sent, so that it may refuse."""
        first = next(pieces, b"")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(first)
        for piece in pieces:
            self.chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def answer(self, request: Json, answers: Iterator[Json], key: str) -> None:
        """Streamed lines, or one document where `stream` is false."""
        if request.get("stream", True):
            self.stream("application/x-ndjson", lines(answers))
        elif key:
            self.json(chat.whole(answers, key))
        else:
            last: Json = {}
            for last in answers:
                if "error" in last:
                    raise RefusedError(last["error"], last.get("status", 500))
            self.json(last)

    def events(self, chunks: Iterator[Json]) -> None:
        def written() -> Iterator[bytes]:
            for chunk in chunks:
                yield f"data: {json.dumps(chunk)}\n\n".encode()
            yield b"data: [DONE]\n\n"

        self.stream("text/event-stream", written())

    def root(self) -> None:
        self.reply(200, b"Ollama is running", "text/plain; charset=utf-8")

    def tags(self) -> None:
        self.json({"models": [one.listed() for one in every()]})

    def show(self) -> None:
        request = self.body(TAGS)
        asked = request.get("model") or request.get("name")
        if not asked:
            raise RefusedError("model is required", 400)
        self.json(Model(asked).shown())

    def delete(self) -> None:
        request = self.body(TAGS)
        asked = request.get("model") or request.get("name") or ""
        if not names.parse(asked).valid():
            raise RefusedError(f'name "{asked}" is invalid', 400)
        try:
            store.remove(names.parse(asked))
        except FileNotFoundError:
            raise RefusedError(f"model '{asked}' not found", 404) from None
        except OSError as error:
            raise RefusedError(create.said(error)) from None
        self.reply(200, b"", "text/plain")

    def create(self) -> None:
        request = self.body(create.FIELDS)
        self.answer(request, create.create(request, create.precheck(request)), "")

    def pull(self) -> None:
        """No registry is reached from where a stand-in runs: the error comes in the stream, behind a 200."""
        request = self.body(TAGS)
        name = names.parse(request.get("model") or request.get("name") or "")
        if not name.valid():
            raise RefusedError("invalid model name", 400)
        self.answer(request, iter([{"status": "pulling manifest"}, {"error": create.pull_error(name)}]), "")

    def generate(self) -> None:
        request = self.body(chat.GENERATE)
        self.answer(request, chat.generate(self.server.scheduler, request), "response")

    def chat(self) -> None:
        request = self.body(chat.CHAT)
        self.answer(request, chat.chat(self.server.scheduler, request), "message")

    def v1_chat(self) -> None:
        request = self.body(openai.CHAT)
        answers = chat.chat(self.server.scheduler, openai.chat_request(request))
        if request.get("stream"):
            self.events(openai.chat_chunks(request, answers))
        else:
            self.json(openai.chat_whole(request, chat.whole(answers, "message")))

    def v1_completions(self) -> None:
        request = self.body(openai.COMPLETIONS)
        answers = chat.generate(self.server.scheduler, openai.completion_request(request))
        if request.get("stream"):
            self.events(openai.completion_chunks(request, answers))
        else:
            self.json(openai.completion_whole(request, chat.whole(answers, "response")))

    def v1_models(self) -> None:
        found = every()
        stamps = {one.name.short(): int(one.modified) for one in found}
        self.json(openai.listed([one.listed() for one in found], stamps))

    def single(self, name: str) -> None:
        if self.command != "GET":
            self.reply(405, b"405 method not allowed", "text/plain")
            return
        found = Model(name)
        self.json({"id": name, "object": "model", "created": int(found.modified), "owned_by": "library"})

    def blob(self, digest: str) -> None:
        """HEAD says whether a blob is there, POST stores one whose content has that digest."""
        try:
            path = store.blob(digest)
        except ValueError as error:
            raise RefusedError(str(error), 400) from None
        if self.command == "HEAD":
            self.reply(200 if path.exists() else 404, b"", "application/json")
        elif self.command != "POST":
            self.reply(405, b"405 method not allowed", "text/plain")
        elif path.exists():
            self.close_connection = True
            self.reply(200, b"", "text/plain")
        else:
            try:
                layer = store.add(store.blocks(self.rfile, int(self.headers.get("Content-Length") or 0)), "")
            except OSError as error:
                raise RefusedError(create.said(error)) from None
            if layer["digest"] != digest:
                raise RefusedError(f'digest mismatch, expected "{digest}", got "{layer["digest"]}"', 400)
            self.reply(201, b"", "text/plain")


def plain(message: str, _status: int) -> Json:
    return {"error": message}


def lines(answers: Iterator[Json]) -> Iterator[bytes]:
    """NDJSON. An error ends it; before the first line it is raised, so that it gets its own status."""
    sent = False
    for answer in answers:
        if "error" in answer:
            if not sent:
                raise RefusedError(answer["error"], answer.get("status", 500))
            yield (json.dumps({"error": answer["error"]}) + "\n").encode()
            return
        sent = True
        yield (json.dumps(answer) + "\n").encode()


def every() -> list[Model]:
    """All models, the youngest first."""
    return sorted((Model(name.full()) for name in store.listed()), key=lambda one: -one.modified)


def get(*names_of: str) -> Callable[[Callable[[Handler], None]], dict[str, Callable[[Handler], None]]]:
    return lambda answer: dict.fromkeys(names_of, answer)


READ, WRITE = get("GET", "HEAD"), get("POST")
ROUTES: dict[str, dict[str, Callable[[Handler], None]]] = {
    "/": READ(Handler.root),
    "/api/version": READ(lambda one: one.json({"version": settings.VERSION})),
    "/api/tags": READ(Handler.tags),
    "/api/ps": get("GET")(lambda one: one.json({"models": one.server.scheduler.processes()})),
    "/api/show": WRITE(Handler.show), "/api/create": WRITE(Handler.create), "/api/pull": WRITE(Handler.pull),
    "/api/delete": get("DELETE")(Handler.delete), "/api/generate": WRITE(Handler.generate),
    "/api/chat": WRITE(Handler.chat), "/v1/models": get("GET")(Handler.v1_models),
    "/v1/chat/completions": WRITE(Handler.v1_chat), "/v1/completions": WRITE(Handler.v1_completions),
}  # fmt: skip
