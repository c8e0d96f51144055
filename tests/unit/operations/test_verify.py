"""Many hosts at once: order, verdicts, the document, and what people see of it at 80 and at 200 columns."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core.facts.parse import HostFacts, parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.data import load_prompts, schema
from phi4_edge.inference import verdict as inference_verdict
from phi4_edge.inference.prompts import choose
from phi4_edge.inference.prompts import parse as parse_prompts
from phi4_edge.inference.verdict import Answer, ToolCall, Verdict
from phi4_edge.inventory import Host
from phi4_edge.operations import verify as operations_verify
from phi4_edge.operations.verify import Questions
from phi4_edge.report import verify as report_verify
from phi4_edge.report.text import cells
from phi4_edge.rollout.result import HostResult, Outcome
from tests.unit.inference.standin_openai import MODEL, Behaviour, Handler, delta, message, serving, usage

pytestmark = pytest.mark.usefixtures("believed")

GOLDEN = Path(__file__).parent / "golden"
FIXTURE = Path(__file__).parents[2] / "fixtures" / "hosts" / "n150-8gb.json"
PROMPTS = parse_prompts(load_prompts()[1], "ours")
FEW = choose(PROMPTS, ["train", "circle"])
CALL = {"index": 0, "id": "1", "function": {"name": "calculate_circle_area", "arguments": '{"radius": 5}'}}


def good(handler: Handler, body: dict[str, Any]) -> None:
    """Answers everything as it should be."""
    said: dict[str, Any] = {"tool_calls": [CALL]} if "tools" in body else {"content": "4 hours"}
    if body["stream"]:
        handler.events(delta(**said), delta("stop"), usage(10, 2))
    else:
        handler.json(message(content=None, tool_calls=[CALL]))


def bad(handler: Handler, _: dict[str, Any]) -> None:
    handler.json({"error": {"message": "no memory"}}, 500)


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    return parse(json.loads(FIXTURE.read_text(encoding="utf-8")))


@pytest.fixture
def fleet(facts: HostFacts) -> Iterator[Any]:
    """Hosts that are reached directly and serve as their behaviour says."""
    with ExitStack() as stack:

        def start(**hosts: Behaviour) -> dict[str, tuple[Host, HostFacts]]:
            found = {}
            for name, behave in hosts.items():
                server = stack.enter_context(serving(behave))
                receipt = Receipt(
                    True,
                    engine="onnx",
                    quantization="int4",
                    model=MODEL,
                    bind="127.0.0.1",
                    port=server.server_address[1],
                )
                host = Host(name, "127.0.0.1", connection="local")
                found[name] = (host, dataclasses.replace(facts, receipt=receipt))
            return found

        yield start


def test_each_host_gets_a_verdict_in_the_order_of_the_inventory(fleet: Any) -> None:
    heard: list[str] = []
    hosts = fleet(gw2=good, gw1=bad, gw3=good)
    found = operations_verify.ask_all(
        hosts, Questions(FEW, 5), 10, lambda verdict: heard.append(verdict.host), pytest.fail
    )
    assert [verdict.host for verdict in found] == ["gw2", "gw1", "gw3"]
    assert sorted(heard) == ["gw1", "gw2", "gw3"]
    assert [verdict.result(True).outcome for verdict in found] == [Outcome.UNCHANGED, Outcome.FAILED, Outcome.UNCHANGED]
    assert [(each.prompt, each.streamed) for each in found[0].answers] == [
        ("train", True),
        ("circle", True),
        ("circle", False),
    ]
    assert "3 of 3 prompts were not answered: the engine answered HTTP 500: no memory" in found[1].result(False).reason


def test_hosts_are_asked_side_by_side_and_prompts_one_after_the_other(fleet: Any) -> None:
    at_once, most, lock = {"a": 0, "b": 0}, {"a": 0, "b": 0}, threading.Lock()
    meeting = threading.Barrier(2, timeout=5)  # breaks unless both hosts are asked at the same time

    def watched(name: str) -> Behaviour:
        def behave(handler: Handler, body: dict[str, Any]) -> None:
            with lock:
                at_once[name] += 1
                most[name] = max(most[name], at_once[name])
            meeting.wait()
            with lock:
                at_once[name] -= 1
            good(handler, body)

        return behave

    found = operations_verify.ask_all(
        fleet(a=watched("a"), b=watched("b")), Questions(FEW, 5), 2, lambda _: None, pytest.fail
    )
    assert all(answer.answered for verdict in found for answer in verdict.answers)
    assert most == {"a": 1, "b": 1}


def test_after_a_failed_prompt_the_others_are_asked_all_the_same(fleet: Any) -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        if "tools" in body:
            good(handler, body)
        else:
            handler.events(delta(content="ha"), done=False)

    (verdict,) = operations_verify.ask_all(fleet(gw1=behave), Questions(FEW, 5), 1, lambda _: None, pytest.fail)
    assert [answer.answered for answer in verdict.answers] == [False, True, True]


@pytest.mark.parametrize(
    ("model", "listed", "answered"),
    [
        ("tiny", MODEL, True),  # the receipt has the catalog's word, engines serve the model's own name
        ("phi-4-mini-instruct", "another", False),
        ("of an older catalog", "another", True),
    ],
)
def test_the_receipts_model_is_looked_for_under_the_name_that_engines_give_it(
    model: str, listed: str, answered: bool, facts: HostFacts
) -> None:
    with serving(good, (listed,)) as server:
        receipt = Receipt(True, engine="onnx", model=model, bind="127.0.0.1", port=server.server_address[1])
        host = Host("gw1", "127.0.0.1", connection="local")
        verdict = operations_verify.ask_host(
            host, dataclasses.replace(facts, receipt=receipt), Questions(FEW, 5), pytest.fail
        )
    assert {answer.answered for answer in verdict.answers} == {answered}


def test_an_engine_that_is_not_there_is_asked_once(facts: HostFacts) -> None:
    receipt = Receipt(True, engine="vllm", model=MODEL, bind="127.0.0.1", port=1)
    host = Host("gw1", "127.0.0.1", connection="local")
    verdict = operations_verify.ask_host(
        host, dataclasses.replace(facts, receipt=receipt), Questions(FEW, 5), pytest.fail
    )
    assert {answer.error for answer in verdict.answers} == {"[Errno 111] Connection refused"}
    assert verdict.result(False).outcome is Outcome.FAILED


def test_ctrl_c_ends_every_exchange_at_once(fleet: Any) -> None:
    release = threading.Event()

    def hang(handler: Handler, _: dict[str, Any]) -> None:
        release.wait(20)
        handler.close_connection = True

    def tell(verdict: Verdict) -> None:
        raise KeyboardInterrupt  # as it reaches the one who waits for the answers

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        operations_verify.ask_all(fleet(gw1=good, gw2=hang), Questions(FEW, 20), 2, tell, pytest.fail)
    release.set()
    assert time.monotonic() - start < 5


def answer(prompt: str, **changes: Any) -> Answer:
    made = Answer(prompt, "math", True, True, "", 31, 200, "usage", 16.41, 0.52, 12.19, "length", None, "4 hours")
    return dataclasses.replace(made, **changes)


ROWS = (
    Verdict(
        "gw1",
        "onnx",
        "int4",
        MODEL,
        "127.0.0.1:8080",
        "r-1",
        (
            answer("train"),
            answer("circle", tool_call=ToolCall("well formed", "", "calculate_circle_area", '{"radius": 5}')),
            answer("circle", streamed=False, first_token_seconds=None, tool_call=ToolCall("none")),
        ),
    ),
    Verdict(
        "a-gateway-with-a-long-name-in-the-north-of-the-country",
        "ollama",
        "q4_K_M",
        MODEL,
        "127.0.0.1:11434",
        "r-2",
        (
            answer("train", completion_tokens=187, tokens_from="events", prompt_tokens=None, finish_reason=""),
            answer("circle", tool_call=ToolCall("malformed", "arguments: found array, needed object", "x", "[5]")),
            answer("circle", streamed=False, tool_call=ToolCall("in the text", "no client will see it")),
        ),
    ),
    Verdict(
        "gw3",
        "vllm",
        "bf16",
        MODEL,
        "127.0.0.1:8000",
        "r-3",
        (
            answer("\x1b[31mtr|ain", text="<b>`*4*`</b>\x1b]0;x\x07 hours\nand more"),
            inference_verdict.unanswered(FEW[1], True, "no complete answer within 300 s", 300.0),
            inference_verdict.unanswered(FEW[1], False, "no complete answer within 300 s"),
        ),
    ),
)
LOST = HostResult("gw9", Outcome.UNREACHABLE, "down")


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(inference_verdict.document(ROWS, [LOST], FEW, require_tools=False)))
    return found


def test_the_document_is_as_published(document: dict[str, Any]) -> None:
    registry = Registry().with_resource("result.schema.json", Resource.from_contents(schema("result")))
    jsonschema.Draft202012Validator(schema("verify"), registry=registry).validate(document)
    assert document["counts"] == {"hosts": 4, "asked": 9, "answered": 7, "tool_calls": 4, "well_formed": 1}
    assert [host["passed"] for host in document["hosts"]] == [True, True, False]


@pytest.mark.parametrize(
    ("rows", "problems", "tools", "code"),
    [
        (ROWS[:1], [], False, 0),
        (ROWS[:1], [], True, 4),
        (ROWS[:2], [], False, 0),
        (ROWS, [], False, 4),
        (ROWS[:1], [LOST], False, 5),
        (ROWS, [LOST], False, 4),
        (ROWS[:1], [HostResult("gw8", Outcome.PREFLIGHT, "not provisioned")], False, 3),
        ((), [], False, 0),
    ],
)
def test_the_exit_code(rows: tuple[Verdict, ...], problems: list[HostResult], tools: bool, code: int) -> None:
    assert inference_verdict.code(rows, problems, tools) == code


def test_a_host_that_fails_for_its_tool_calls_alone_says_so() -> None:
    document = inference_verdict.document(ROWS[:1], [], FEW, require_tools=True)
    assert "gw1: 1 tool call is not well formed: none" in report_verify.overview(document, 80)


SHOWN = {
    "verify-80.txt": lambda document: report_verify.overview(document, 80),
    "verify-200.txt": lambda document: report_verify.overview(document, 200, answers=True),
    "verify.md": lambda document: report_verify.markdown(document, answers=True),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_people_see(name: str, document: dict[str, Any]) -> None:
    text = "\n".join(SHOWN[name](document)) + "\n"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_none_commands_it(width: int, document: dict[str, Any]) -> None:
    for line in report_verify.overview(document, width, answers=True):
        assert cells(line) <= width, line
        assert "\x1b" not in line
        assert "\x07" not in line


def test_markdown_keeps_its_columns_whatever_hosts_send(document: dict[str, Any]) -> None:
    rows = [line for line in report_verify.markdown(document) if line.startswith("|")]
    assert len(rows) == 2 + 9
    assert {line.replace("\\|", "").count("|") for line in rows} == {len(report_verify.HEAD) + 1}
