"""The table of hostile answers: ask, verify and status end in time, within their memory, and say which host it was."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge.core.facts.parse import HostFacts, parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.facts.status import Health
from phi4_edge.data import load_prompts
from phi4_edge.inference import client, reading
from phi4_edge.inference.prompts import choose
from phi4_edge.inference.prompts import parse as parse_prompts
from phi4_edge.inference.verdict import Verdict
from phi4_edge.inventory import Host
from phi4_edge.main import cli
from phi4_edge.operations import health, verify
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.verify import Questions
from phi4_edge.rollout.result import HostResult, Outcome
from tests.unit.inference.standin_hostile_http import (
    CHAT,
    CHATS,
    ESCAPES,
    LIST,
    MODEL,
    PLAIN,
    STREAM,
    Row,
    event,
    listed,
    once,
    serving,
    sized,
)

pytestmark = [pytest.mark.usefixtures("believed"), pytest.mark.slow]

SECONDS = 2.0  # of each answer, in place of minutes
# Seconds that a busy machine adds; what is not cut has no end.
BUSY = 20.0
MOST_MEMORY = 128 * 1024  # KiB more than before, for a whole table
MOST_OUTPUT = 2 * 1024 * 1024
TRAIN = choose(parse_prompts(load_prompts()[1], "ours"), ["train"], 20)
ROWS = [("list", name) for name in PLAIN] + [("chat", name) for name in CHATS]
FIXTURE = Path(__file__).parents[2] / "fixtures" / "hosts" / "n150-8gb.json"


def rows(kind: str, name: str) -> dict[str, Row]:
    return {LIST: PLAIN[name]} if kind == "list" else {CHAT: CHATS[name]}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client, "LIST_SECONDS", SECONDS)
    monkeypatch.setattr(health, "SECONDS", SECONDS)
    lost = HostResult("gw1", Outcome.UNREACHABLE, "down", "check that it is on")
    monkeypatch.setattr(Fleet, "survey", lambda *_, **__: Survey({}, (lost,)))
    before = peak()
    yield
    assert peak() - before < MOST_MEMORY


def peak() -> int:
    """The most memory that this process had so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ask_of(folder: Path, ports: Mapping[str, int], *words: str) -> Result:
    inventory = folder / "hosts.ini"
    lines = (f"{name} ansible_connection=local phi4_port={port} phi4_model=tiny\n" for name, port in ports.items())
    inventory.write_text("".join(lines))
    wish = ["ask", str(inventory), "Hello?", "--max-tokens", "5", "--timeout", str(SECONDS), *words]
    return CliRunner().invoke(cli, wish)


@pytest.mark.parametrize(("kind", "name"), ROWS, ids=[f"{kind}: {name}" for kind, name in ROWS])
def test_ask(kind: str, name: str, tmp_path: Path) -> None:
    with serving(rows(kind, name)) as port:
        start = time.monotonic()
        done = ask_of(tmp_path, {"gw1": port})
        took = time.monotonic() - start
    assert took < 2 * SECONDS + BUSY
    assert done.exit_code in (4, 5), done.output
    assert "error: gw1: " in done.stderr
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)
    assert len(done.output) < MOST_OUTPUT
    assert done.output.replace("\n", "").isprintable()


def test_ask_beside_a_hostile_host_the_others_answer(tmp_path: Path) -> None:
    with serving({CHAT: CHATS["events without end"]}) as bad, serving({}) as good:
        done = ask_of(tmp_path, {"gw1": bad, "gw2": good})
    assert done.exit_code == 4
    assert "gw2: Hello there\n" in done.stdout


def test_ask_shows_no_more_than_was_asked_for(tmp_path: Path) -> None:
    with serving({CHAT: CHATS["small events without end"]}) as port:
        done = ask_of(tmp_path, {"gw1": port})
    assert done.stdout.strip() == "a" * (5 + reading.SLACK)
    assert "more than 21 pieces, needed at most 5 tokens" in done.stderr


def test_ask_shows_escapes_and_false_names_as_text(tmp_path: Path) -> None:
    said = once(STREAM + event(ESCAPES) + event("\x1b") + event("[31m\ngw2: all is well \ud800") + b"data: [DONE]\n\n")
    with serving({CHAT: said}) as first, serving({}) as second:
        done = ask_of(tmp_path, {"gw1": first, "gw2": second})
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines] == ["gw1:", "gw1:", "gw2:"]
    assert lines[2] == "gw2: Hello there"
    assert done.output.replace("\n", "").isprintable()


def test_ask_shows_a_name_of_a_model_as_text(tmp_path: Path) -> None:
    with serving({LIST: once(listed(ESCAPES))}) as port:
        done = ask_of(tmp_path, {"gw1": port}, "--model", MODEL)
    assert done.exit_code == 4
    assert "found the models" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    return parse(json.loads(FIXTURE.read_text(encoding="utf-8")))


def serving_host(facts: HostFacts, name: str, port: int, engine: str = "onnx") -> tuple[Host, HostFacts]:
    receipt = Receipt(True, engine=engine, model="tiny", bind="127.0.0.1", port=port)
    return Host(name, "127.0.0.1", connection="local"), dataclasses.replace(facts, receipt=receipt)


def test_verify_all_rows_side_by_side_with_innocents(facts: HostFacts) -> None:
    heard: list[Verdict] = []
    with contextlib.ExitStack() as stack:
        hosts = {}
        for number, (kind, name) in enumerate(ROWS):
            bad, good = stack.enter_context(serving(rows(kind, name))), stack.enter_context(serving({}))
            hosts[f"bad{number}"] = serving_host(facts, f"bad{number}", bad)
            hosts[f"good{number}"] = serving_host(facts, f"good{number}", good)
        start = time.monotonic()
        found = verify.ask_all(hosts, Questions(TRAIN, SECONDS), 32, heard.append, pytest.fail)
        took = time.monotonic() - start
    assert took < len(ROWS) / 16 * 2 * SECONDS + 2 * BUSY
    assert {verdict.host for verdict in heard} == set(hosts)
    for verdict in found:
        (answer,) = verdict.answers
        if verdict.host.startswith("good"):
            assert (answer.answered, answer.text) == (True, "Hello there"), answer.error
        else:
            kind, name = ROWS[int(verdict.host[3:])]
            assert not answer.answered, name
            assert answer.error.isprintable()
            assert len(answer.error) <= 400
            assert verdict.result(False).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", [name for name in CHATS if "without end" in name])
def test_verify_in_one_piece(name: str, facts: HostFacts) -> None:
    """Of a prompt with tools the whole answer is read as well, in one piece."""
    tools = choose(parse_prompts(load_prompts()[1], "ours"), ["circle"], 20)
    with serving({CHAT: CHATS[name]}) as port:
        verdict = verify.ask_host(*serving_host(facts, "gw1", port), Questions(tools, SECONDS), pytest.fail)
    assert [answer.answered for answer in verdict.answers] == [False, False]


def test_status_all_rows_side_by_side_with_innocents(facts: HostFacts) -> None:
    assert facts.service is not None
    up = dataclasses.replace(facts, service=dataclasses.replace(facts.service, active="active", enabled="enabled"))
    with contextlib.ExitStack() as stack:
        hosts = {}
        for number, name in enumerate(PLAIN):
            bad = stack.enter_context(serving({"/health": PLAIN[name]}))
            hosts[f"bad{number}"] = serving_host(up, f"bad{number}", bad)
            hosts[f"good{number}"] = serving_host(up, f"good{number}", stack.enter_context(serving({})))
            # Ollama is asked a second time, on the same connection.
            if number % 4 == 0:
                worse = stack.enter_context(serving({"/api/ps": PLAIN[name]}))
                hosts[f"badly{number}"] = serving_host(up, f"badly{number}", worse, "ollama")
        hosts["good"] = serving_host(up, "good", stack.enter_context(serving({})), "ollama")
        idle = once(sized(b'{"models":[]}'))
        hosts["idle"] = serving_host(up, "idle", stack.enter_context(serving({"/api/ps": idle})), "ollama")
        start = time.monotonic()
        found = health.ask_all(hosts)
        took = time.monotonic() - start
    assert took < len(PLAIN) / 8 * SECONDS + 2 * BUSY
    assert found.pop("idle") == Health("loading")
    for name, said in found.items():
        assert (said.status == "healthy") == name.startswith("good"), (name, said)
        assert name.startswith("good") or said.problem
