"""Tells the gateway whether a prompt fits into the model's context, for an engine that would cut it in silence.

A unit of its own, phi4-edge-measure.service. It lies in the release and takes what it needs from the release's plan and
from the engine's store. Python 3.8 or newer, standard library, and the modules of ours beside it.

It listens on a Unix socket. A request is a line, PATH LENGTH, and the body; the answer is a line: `fits`, `long` with
the document that the client gets, or `unknown` with why, and then the gateway lets the request pass. COUNTS 0 is
answered by the numbers of each, as JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import sys
import threading
import time
from typing import Any, Dict, Mapping, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # isolated Python looks nowhere else than in its own

import measure_gguf
import measure_model
import measure_prompt
from measure_count import Counter

FITS, LONG, UNKNOWN = "fits", "long", "unknown"
COUNTS = "COUNTS"
LINE = re.compile(rb"([A-Za-z0-9._/:-]{1,200}) ([0-9]{1,8})\n")
MOST_BODY, MOST_LINE = 1 << 20, 256
MOST_CONNECTIONS = 32
# The gateway waits for two seconds. One at a time: several at once would all be late, and take memory.
CONNECTION_SECONDS, WAIT_SECONDS, COUNT_SECONDS = 5.0, 0.7, 1.0
# Of the characters of tools, of which Ollama may write some otherwise: a fiftieth, and a few tokens.
TOOLS_PART, TOOLS_TOKENS = 50, 16
RETRY_SECONDS = 30.0  # after a store that could not be read, as while it is being made


class Measure:
    """Measures prompts for the models of one store. `context`: tokens where a model says no other number."""

    def __init__(self, store: str, context: int) -> None:
        self._store, self._context = store, context
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._counters: Dict[str, Tuple[Counter, int]] = {}
        self._failed: Dict[str, Tuple[float, str]] = {}
        self.counts = dict.fromkeys((FITS, LONG, UNKNOWN), 0)

    def answer(self, path: str, body: bytes) -> Tuple[str, str]:
        """What the gateway is told, and what comes with it."""
        found = UNKNOWN, "others are being measured"
        if self._lock.acquire(timeout=WAIT_SECONDS):
            try:
                found = self._answer(path, body)
            except (OSError, ValueError, RecursionError, MemoryError) as error:
                found = UNKNOWN, " ".join(str(error).split())[:200] or type(error).__name__
            finally:
                self._lock.release()
        with self._counting:
            self.counts[found[0]] += 1
        return found

    def _answer(self, path: str, body: bytes) -> Tuple[str, str]:
        document = measure_prompt.parsed(body)
        model = measure_model.find(self._store, document.get("model")) if isinstance(document, dict) else None
        if model is None:
            return UNKNOWN, "no model of ours"
        prompt = measure_prompt.prompt_of(path, document, model.system)
        if prompt is None:
            return UNKNOWN, "no request that is known"
        context = model.context or self._context
        if len(prompt.text.encode()) < context:  # no token is less than a byte
            return FITS, ""
        counter, most = self._counter(model.weights)
        context = min(context, most or context)
        # Ollama leaves room for one token of the answer.
        allowed = context - 1 + (prompt.about // TOOLS_PART + TOOLS_TOKENS if prompt.about else 0)
        counted = counter.count(prompt.text, allowed, COUNT_SECONDS)
        if counted.tokens > allowed:
            return LONG, refusal(context, counted.tokens, counted.whole, prompt.field)
        return (FITS, "") if counted.whole else (UNKNOWN, "it takes too long to count")

    def _counter(self, weights: str) -> Tuple[Counter, int]:
        """What counts for the model in a file, and the longest context that it knows. Raises OSError, ValueError."""
        known = self._counters.get(weights)
        if known is not None:
            return known
        at, why = self._failed.get(weights, (-RETRY_SECONDS, ""))
        if time.monotonic() - at < RETRY_SECONDS:
            raise ValueError(why)
        try:
            vocabulary = measure_gguf.read(weights)
            found = self._counters[weights] = Counter(vocabulary), vocabulary.context
        except (OSError, ValueError) as error:
            why = "%s: %s" % (weights, error)
            self._failed[weights] = time.monotonic(), why
            tell("prompts are not measured, and pass: %s" % why)
            raise ValueError(why) from None
        return found

    def prepare(self, name: str) -> None:
        """The vocabulary of a model is there before somebody asks."""
        try:
            model = measure_model.find(self._store, name)
            if model is None:
                tell("prompts of %s are not measured, and pass: its store has no model with our chat template" % name)
                return
            with self._lock:
                self._counter(model.weights)
            tell("ready to measure prompts for %s" % name)
        except (OSError, ValueError) as error:
            tell("prompts of %s are not measured, and pass: %s" % (name, error))


def refusal(context: int, tokens: int, whole: bool, field: str) -> str:
    """OpenAI's error for a prompt that is too long, in the words of our own engine."""
    verb, number = "take" if field == "messages" else "takes", "%s%d" % ("" if whole else "more than ", tokens)
    message = (
        "The prompt is too long: this model's maximum context length is %d tokens, and the %s %s %s tokens, which "
        "leaves none for the answer. Shorten the %s." % (context, field, verb, number, field)
    )
    error = {"message": message, "type": "invalid_request_error", "param": field, "code": "context_length_exceeded"}
    return json.dumps({"error": error})


class Handler(socketserver.StreamRequestHandler):
    """One question, and its answer."""

    timeout = CONNECTION_SECONDS
    server: "Server"

    def handle(self) -> None:
        found = LINE.fullmatch(self.rfile.readline(MOST_LINE))
        size = int(found.group(2)) if found else MOST_BODY + 1
        if not found or size > MOST_BODY:
            return
        path, measure = found.group(1).decode(), self.server.measure
        if path == COUNTS:
            self.wfile.write(json.dumps(measure.counts).encode() + b"\n")
            return
        body = self.rfile.read(size)
        if len(body) == size:
            self.wfile.write(("%s %s\n" % measure.answer(path, body)).encode())


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers a few at a time; who comes when it is full is sent away, and passes."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, measure: Measure) -> None:
        self.measure, self.free = measure, threading.Semaphore(MOST_CONNECTIONS)
        if os.path.lexists(path):
            os.unlink(path)  # one that was killed leaves it
        super().__init__(path, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that went away is nothing to tell; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def tell(text: str) -> None:
    """One line of the unit's journal."""
    print(text, flush=True)  # noqa: T201


def measure_of(plan: Mapping[str, Any], release: str) -> Measure:
    """What measures for a release's plan."""
    return Measure(os.path.join(release, "store"), int(plan["context_length"]))


def main(path: str, release: Optional[str] = None) -> None:
    """Answer at the socket until the end."""
    release = release or os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(release, "plan.json"), encoding="utf-8") as plan_file:
        plan = json.load(plan_file)
    measure = measure_of(plan, release)
    server = Server(path, measure)
    threading.Thread(target=measure.prepare, args=(str(plan["model"]["served_name"]),), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(0)
