"""What the stand-in for Open WebUI sends to an engine: what the real one sends, and no more than it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from phi4_edge.core.engines.compose import webui_document
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table
from tests.standins import standin_webui_chat as chat
from tests.standins import webui_image
from tests.unit.standins.ollama import free_port

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
QUESTION = "What is the capital of Korea?"
Body = dict[str, Any]
Ask = Callable[..., Body]


class Engine(ThreadingHTTPServer):
    """Answers as an engine does, and keeps what it was asked; `refuse` is what it says instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Body]] = []
        self.refuse = ""
        super().__init__(("127.0.0.1", 0), EngineHandler)


class EngineHandler(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        self.say(200, json.dumps({"data": [{"id": "phi-4-mini-instruct"}]}))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.server.asked.append((raw, body))
        if self.server.refuse:
            self.say(400, json.dumps({"error": {"message": self.server.refuse}}))
        elif body["stream"]:
            pieces = [json.dumps({"choices": [{"delta": {"content": word}}]}) for word in ("Se", "oul")]
            self.say(200, "".join(f"data: {piece}\n\n" for piece in [*pieces, "[DONE]"]))
        else:
            self.say(200, json.dumps({"choices": [{"message": {"content": "A title"}}]}))

    def say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what was asked is in `asked`."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def ask(engine: Engine, tmp_path: Path) -> Ask:
    def asked(settings: dict[str, str], **more: Any) -> Body:
        with page(tmp_path, {**settings, "OPENAI_API_BASE_URL": f"http://127.0.0.1:{engine.server_port}/v1"}) as url:
            answer = requests.post(f"{url}/standin/ask", json={"question": QUESTION, **more}, timeout=20)
            return dict(answer.json())

    return asked


@contextmanager
def page(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The stand-in as its container runs it, and its address."""
    modules = folder / "modules"
    modules.mkdir()
    for name, text in webui_image.modules().items():
        (modules / name).write_bytes(text)
    port = free_port()
    own = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder / "data"), "STATIC_DIR": str(folder / "static"),
           "WEBUI_SECRET_KEY": "x"}  # fmt: skip
    command = [sys.executable, "-m", "uvicorn", "open_webui.main:app", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=modules, env={**settings, **own}, stdout=subprocess.DEVNULL) as process:
        try:
            await_health(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def await_health(url: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            assert requests.get(f"{url}/health", timeout=5).json() == {"status": True}
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not come up in 20 s")


def planned(host: str, **variables: object) -> dict[str, str]:
    """The settings of our Compose document for this host."""
    found = parse.parse(json.loads((HOSTS / f"{host}.json").read_text(encoding="utf-8")))
    wanted = Overrides.from_vars(host, {"webui_enabled": True, **variables})
    plan = decide(found, load_table(), load_catalog(), wanted, Inputs({}, {})).to_dict()
    document = webui_document(plan, "sha256:" + "3" * 64, memory=10**9, start="")
    return dict(document["services"]["webui"]["environment"])


def test_untold_it_sends_its_tools_and_asks_three_more_things(engine: Engine, ask: Ask) -> None:
    done = ask({})
    assert done["answer"] == "Seoul"
    assert [purpose for purpose, _ in done["sent"]] == ["title", "answer", "follow-ups", "tags"]
    title, (raw, question), follow_ups, tags = ((raw, body) for raw, body in engine.asked)
    assert len(raw) == 24_863
    assert [tool["function"]["name"] for tool in question["tools"]] == list(chat.TOOLS)
    assert len(set(chat.TOOLS)) == 36
    assert "max_tokens" not in question
    assert title[1]["max_tokens"] == 1000
    assert [("max_tokens" in body, "Seoul" in body["messages"][0]["content"]) for _, body in (follow_ups, tags)] == [
        (False, True), (False, True),
    ]  # fmt: skip
    assert "Seoul" not in title[1]["messages"][0]["content"]


def test_over_the_api_no_tools_come_along_and_nothing_more_is_asked(engine: Engine, ask: Ask) -> None:
    assert ask({}, typed=False)["sent"] == [["answer", 116]]
    assert [len(raw) for raw, _ in engine.asked] == [116]


@pytest.mark.parametrize(
    ("host", "variables", "tokens", "purposes"),
    [
        ("n150-8gb", {}, 1024, ["answer"]),
        ("gateway-6gb", {}, 512, ["answer"]),  # a quarter of 2048 tokens, which is what it has room for beside the page
        ("gtx1060-6gb", {}, 1024, ["title", "answer"]),
        ("n150-8gb", {"webui_titles": True, "webui_tags": True}, 1024, ["title", "answer", "tags"]),
        ("gtx1060-6gb", {"webui_titles": False, "webui_follow_ups": True}, 1024, ["answer", "follow-ups"]),
    ],
)
def test_as_we_start_it_a_question_is_what_was_typed(
    engine: Engine, ask: Ask, host: str, variables: dict[str, object], tokens: int, purposes: list[str]
) -> None:
    sent = ask(planned(host, **variables))["sent"]
    assert [purpose for purpose, _ in sent] == purposes
    by_purpose = dict(zip(purposes, engine.asked, strict=True))
    raw, question = by_purpose.pop("answer")
    assert "tools" not in question and len(raw) < 150
    assert question["max_tokens"] == tokens
    assert {body["max_tokens"] for _, body in by_purpose.values()} <= {300}


def test_its_tools_come_back_where_they_are_wanted(engine: Engine, ask: Ask) -> None:
    ask(planned("n150-8gb", webui_builtin_tools=True, webui_max_tokens=77))
    ((raw, question),) = engine.asked
    assert (len(question["tools"]), question["max_tokens"]) == (36, 77)
    assert len(raw) > 24_000


def test_what_the_engine_refuses_is_shown_in_its_own_words(engine: Engine, ask: Ask) -> None:
    engine.refuse = "This model's context length is 4096 tokens, and the messages take 11465"
    done = ask({})
    assert done["error"] == engine.refuse
    assert [one[0] for one in done["sent"]] == ["title", "answer"]
    assert done["sent"][0][2] == "failed"
