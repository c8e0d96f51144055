"""The real Open WebUI in front of engines of the lab, and a person's browser in front of it: `make webui-real`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from phi4_edge import lab as lab_room
from phi4_edge.core.engines.administrator import EMAIL
from phi4_edge.data import load_catalog
from tests.e2e.gateway import ROOT, Cli
from tests.e2e.real_webui import (
    ENVIRONMENT,
    PASSWORD,
    TOLD,
    Asked,
    Browser,
    Page,
    Recorder,
    Tab,
    driven,
    recording,
    running,
    standin,
    tunnel,
)  # fmt: skip
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.webui_real]
QUESTION = "What can a gateway at the edge do with a small model?"
HOSTS = {"onnx": "gw1", "ollama": "gw2"}
PICTURES = ROOT / "build" / "open-webui-pictures"
SHOWN = "[...document.querySelectorAll('#response-content-container')].map(e => e.innerText.trim()).join('\\n')"
CLOSE_NEWS = """new Promise(done => { let looked = 0; const timer = setInterval(() => {
  const close = [...document.querySelectorAll('button')].find(e => e.innerText.trim().startsWith('Okay'));
  if (close) close.click();
  if (close || ++looked > 40) { clearInterval(timer); done(!!close); }
}, 500); })"""
every_engine = pytest.mark.parametrize("engine", list(HOSTS))


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway with the ONNX engine and one with Ollama (the stand-in); from then on the inventory wants the page."""
    assert ENVIRONMENT.exists(), f"found no {ENVIRONMENT}, needed Open WebUI; run: make webui-real"
    folder, name = tmp_path_factory.mktemp("webui"), f"webui-real-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose(["gateway-8gb"] * 2), kind="bare", with_mirror=True)
    try:
        found = open_site(made, own_store(ready.store, folder / "store"), folder)
        found.write({host: {"phi4_engine": engine} for engine, host in HOSTS.items()})
        found.run("provision", "--yes").expect(0)
        found.write({host: {"phi4_engine": engine, "webui_enabled": "true"} for engine, host in HOSTS.items()})
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture(scope="module")
def plans(site: Site) -> dict[str, dict[str, Any]]:
    """The plan with a page, by engine."""
    found = {plan["host"]: plan for plan in json.loads(site.run("plan", "--output", "json").expect(0).out)["plans"]}
    return {engine: found[host] for engine, host in HOSTS.items()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


class Visit:
    """A person at the page: a browser, the page, and what the engine is asked meanwhile."""

    def __init__(self, tab: Tab, page: Page, recorder: Recorder) -> None:
        self.tab, self.page, self.recorder = tab, page, recorder

    def sign_in(self) -> None:
        """The administrator is in, and the page waits for a question."""
        self.tab.size(1280, 800)
        self.tab.open(self.page.url)
        self.tab.type('input[name="email"]', EMAIL)
        self.tab.type('input[type="password"]', PASSWORD)
        self.tab.enter()
        self.tab.wait("!!document.querySelector('#chat-input')", 120)
        # At the first sign-in news of the version lie over everything.
        self.tab.value(CLOSE_NEWS)

    def ask(self, question: str) -> str:
        """What the page shows as the answer to a question that is typed, once nothing more is asked of the engine."""
        self.tab.type("#chat-input", question)
        self.tab.wait("!!document.querySelector('#send-message-button:not([disabled])')")
        least = len(self.recorder.asked) + 1
        self.tab.value("document.querySelector('#send-message-button').click()")
        self.recorder.settle(least)
        return str(self.tab.wait(SHOWN))

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.tab.picture(PICTURES / f"{name}.png")


@contextmanager
def visit(
    site: Site, plan: dict[str, Any], browser: Browser, folder: Path, without: tuple[str, ...] = ()
) -> Iterator[Visit]:
    with (
        tunnel(site.host(plan["host"])) as port, recording(port) as recorder,
        running(plan, recorder, folder / "page", without) as page, driven(browser) as tab,
    ):  # fmt: skip
        found = Visit(tab, page, recorder)
        found.sign_in()
        yield found


def prompt_tokens(recorder: Recorder, body: dict[str, Any]) -> int:
    """How many tokens the engine reads for such a request."""
    short = {**body, "stream": False, "max_tokens": 1}
    answer = requests.post(f"http://127.0.0.1:{recorder.engine}/v1/chat/completions", json=short, timeout=300)
    return int(answer.json()["usage"]["prompt_tokens"])


def first_words(asked: Asked) -> str:
    """A piece of an answer that reads the same on the page, whatever its markup."""
    found = re.search(r"[A-Za-z]{3,}", asked.text)
    assert found, asked.text
    return found[0]


def test_it_is_the_catalogs() -> None:
    said = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-m", "pip", "show", "open-webui"], capture_output=True, text=True, check=True
    ).stdout
    assert f"Version: {load_catalog().webui.image.tag.removeprefix('v')}\n" in said


@every_engine
def test_a_question_that_is_typed_is_answered_for_what_it_is(
    site: Site, plans: dict[str, dict[str, Any]], browser: Browser, tmp_path: Path, engine: str
) -> None:
    with visit(site, plans[engine], browser, tmp_path) as person:
        shown = person.ask(QUESTION)
        person.picture(engine)
        assert len(person.recorder.asked) <= 2
        asked = person.recorder.asked[0]
        assert (asked.path, asked.status) == ("/v1/chat/completions", 200), asked.answered[-500:]
        assert first_words(asked) in shown
        assert asked.body["max_tokens"] == plans[engine]["webui"]["max_tokens"]
        plain = {"model": asked.body["model"], "messages": [{"role": "user", "content": QUESTION}]}
        read, own = prompt_tokens(person.recorder, asked.body), prompt_tokens(person.recorder, plain)
        assert read <= own + 100, f"{read} tokens for a question of {own}"
        person.ask("And what else?")
        assert len(person.recorder.asked) <= 3
        assert [message["role"] for message in person.recorder.asked[-1].body["messages"]] == [
            "user", "assistant", "user",
        ]  # fmt: skip


def test_where_titles_are_on_a_chat_gets_one_for_one_request_more(
    site: Site, plans: dict[str, dict[str, Any]], browser: Browser, tmp_path: Path
) -> None:
    plan = plans["ollama"]
    with visit(site, {**plan, "webui": {**plan["webui"], "titles": True}}, browser, tmp_path) as person:
        person.ask(QUESTION)
        asked = [each.body for each in person.recorder.asked]
        assert sorted(each["max_tokens"] for each in asked) == [300, plan["webui"]["max_tokens"]]


@every_engine
def test_left_alone_it_asks_what_the_stand_in_asks(
    site: Site, plans: dict[str, dict[str, Any]], browser: Browser, tmp_path: Path, engine: str
) -> None:
    with visit(site, plans[engine], browser, tmp_path, without=TOLD) as person:
        shown = person.ask(QUESTION)
        person.picture(f"{engine}-left-alone")
        # A model that calls one of them is asked a second time, with what came of it.
        question = next(each for each in person.recorder.asked if "tools" in each.body)
        model = question.body["model"]
        assert [tool["function"]["name"] for tool in question.body["tools"]] == list(standin.TOOLS)
        assert len(question.raw) == pytest.approx(
            len(standin.encoded(standin.question_body(model, QUESTION, True))), rel=0.01
        )
        assert "max_tokens" not in question.body
        if engine == "onnx":
            assert "context length is 4096 tokens" in shown
        else:
            others = [each.body.get("max_tokens") for each in person.recorder.asked if "tools" not in each.body]
            assert others == [standin.TITLE_TOKENS, None, None]
