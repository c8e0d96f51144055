"""Forms that cannot be had, and clients that mean harm: 400 before the queue, and nobody else notices."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from client import SOURCE, Engine
from conftest import StartEngine
from schema_table import COSTLY, HOSTILE, USUAL, closed
from shapes import TOOL, error, events, script, shown

from phi4_engine import schemas
from phi4_engine.errors import ApiError
from phi4_engine.wire import Form

ADD = closed(a={"type": "integer", "minimum": 0, "maximum": 9})
STRICT = {"type": "function", "function": {"name": "add", "parameters": ADD, "strict": True}}


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def tool(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    """Only these functions may be called."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_cannot_be_had_is_a_400_at_once(engine: Engine, name: str) -> None:
    began = time.monotonic()
    for fields, param in (
        ({"response_format": form(HOSTILE[name])}, "response_format"),
        ({"response_format": form(HOSTILE[name]), "stream": True}, "response_format"),
        ({"tools": [tool(closed(a=HOSTILE[name]))], "tool_choice": "required"}, "tools"),
    ):
        answer = engine.chat(script("x", "<|end|>"), **fields)
        assert answer.status == 400, (fields, answer.body[:200])
        found = error(answer)
        assert found["code"] == "invalid_schema"
        assert found["param"].startswith(param)
        assert 20 < len(found["message"]) < 400
        assert "\n" not in found["message"]
    assert time.monotonic() - began < 60
    assert engine.chat("hi").status == 200


def test_it_says_what_llguidance_says_and_where(engine: Engine) -> None:
    answer = engine.chat("hi", response_format=form(closed(a={"type": "strin"})))
    assert error(answer)["message"] == "response_format: Invalid type: strin"
    answer = engine.chat("hi", tools=[TOOL, tool({"$ref": "#/nope"})], tool_choice="required")
    assert error(answer)["message"] == "tools[1].function.parameters: Pointer '/nope' does not exist"
    assert error(answer)["param"] == "tools[1].function.parameters"


@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_schema_holds_up_nobody(start: StartEngine, name: str) -> None:
    engine = start(PHI4_PARALLEL="2", PHI4_CONTEXT_LENGTH="2000")
    engine.wait_for(200)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.chat, script(step=0.01), response_format=form(COSTLY[name]), max_tokens=40)
        beside = engine.chat(script("free", "<|end|>", step=0.01))
        assert beside.json()["choices"][0]["message"]["content"] == "free"
        slowest = 0.0
        while not asked.done():
            began = time.monotonic()
            assert engine.get("/health").status == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
    assert slowest < 2
    assert asked.result().status in (200, 400), asked.result().body
    assert "Traceback" not in engine.log
    assert engine.chat("hi").status == 200


def test_it_is_refused_while_the_queue_is_waiting(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    busy = engine.stream(script(step=0.05))
    next(busy.events())
    waiting = engine.stream(script("later", "<|end|>"))
    for stream in (False, True):
        assert engine.chat("hi", response_format=form({"type": "strin"}), stream=stream).status == 400
    busy.close()
    assert waiting.text() == "later"
    waiting.close()


def test_a_form_that_becomes_too_complex_on_the_way_is_a_400_or_an_event(engine: Engine) -> None:
    many, say = form(COSTLY["properties"]), script('{"k1')
    answer = engine.chat(say, response_format=many)
    assert (answer.status, error(answer)["code"]) == (400, "invalid_schema")
    found = events(engine, say, response_format=many)
    assert found[-1]["error"]["code"] == "invalid_schema"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": form(7)}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object", "schema": 7}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "schema": {"type": "strin"}}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": "any", "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "no"}}, "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": allowed("auto"), "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": allowed("none", "add"), "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": allowed("auto", "add", "no"), "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": allowed("auto", "add")}, "tool_choice"),
        ({"tool_choice": "required", "tools": [tool({"type": "string"})]}, "tools[0].function.parameters"),
        ({"parallel_tool_calls": 7}, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_forms_that_make_no_sense_are_refused(engine: Engine, fields: dict[str, Any], param: str) -> None:
    answer = engine.chat("hi", **fields)
    assert answer.status == 400, answer.body
    assert error(answer)["param"] == param


def test_a_schema_cannot_loosen_itself(engine: Engine) -> None:
    loose = {"type": "strin", "x-guidance": {"lenient": True, "whitespace_flexible": True}}
    assert engine.chat("hi", response_format=form(loose)).status == 400


def test_the_model_has_no_other_choice(engine: Engine) -> None:
    choice = engine.chat(script("Sure! Here it is:"), response_format=form(USUAL["enum"])).json()["choices"][0]
    assert json.loads(choice["message"]["content"])["n"] is None
    assert choice["finish_reason"] == "stop"
    fields = {"response_format": {"type": "json_object"}}
    for said, found in (('{"a":[1,"日本"]}', {"a": [1, "日本"]}), ("{}", {})):
        choice = engine.chat(script(said, "<|end|>"), **fields).json()["choices"][0]
        assert json.loads(choice["message"]["content"]) == found


def call_of(engine: Engine, *say: str, **fields: Any) -> Any:
    return engine.chat(script(*say), **{"tools": [STRICT], **fields}).json()["choices"][0]


def test_a_strict_function_is_free_text_until_it_is_called(engine: Engine) -> None:
    assert call_of(engine, "No call.", "<|end|>")["message"]["content"] == "No call."
    wrong = '[{"name":"add","arguments":{"b":"no"}}]'
    # Of how many calls nobody decides here, and so many may not fit.
    choice = call_of(engine, "Hm. ", "<|tool_call|>", wrong, "<|/tool_call|>", "<|end|>", parallel_tool_calls=False)
    assert choice["message"]["content"] == "Hm. "
    calls = [json.loads(call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
    assert calls
    assert all(list(call) == ["a"] for call in calls)
    assert choice["finish_reason"] == "tool_calls"


def test_of_free_calls_a_client_without_parallel_calls_gets_the_first(engine: Engine) -> None:
    calls = '[{"name":"add","arguments":{"a":1}},{"name":"add","arguments":{"a":2}}]'
    say = script("<|tool_call|>", calls, "<|/tool_call|>", "<|end|>")
    found = engine.chat(say, tools=[TOOL], parallel_tool_calls=False).json()["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in found] == [{"a": 1}]
    assert len(engine.chat(say, tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"]) == 2


def test_a_named_function_alone_is_meant_and_none_forbids_all(engine: Engine) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    say = script("text", "<|end|>")
    message = engine.chat(say, tools=[TOOL, tool(ADD)], tool_choice=named).json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["f"]
    free = engine.chat(say, tools=[STRICT], tool_choice="none").json()["choices"][0]["message"]
    assert free["content"] == "text"


SUB = '{"name":"sub","arguments":{}}'


def test_of_all_functions_only_those_that_are_allowed_are_told_and_called(engine: Engine) -> None:
    """The places of the others count: an error names the schema where it stands in the request."""
    tools = [tool({}) | {"function": {"name": "sub"}}, TOOL, {"type": "function", "function": {"name": "now"}}]
    fields = {"tools": tools, "tool_choice": allowed("auto", "add", "now")}
    system = shown(engine.chat("hi", **fields))[0]
    assert [one["name"] for one in json.loads(system["tools"])] == ["add", "now"]
    for written, called in (('{"name":"add","arguments":{}}', True), (SUB, False)):
        say = script("<|tool_call|>", written, "<|/tool_call|>", "<|end|>")
        choice = engine.chat(say, **fields).json()["choices"][0]
        assert (choice["finish_reason"], bool(choice["message"].get("tool_calls"))) == (
            ("tool_calls", True) if called else ("stop", False)
        )
    fields = {"tools": tools, "tool_choice": allowed("required", "now"), "parallel_tool_calls": False}
    [call] = engine.chat(script("No.", "<|end|>"), **fields).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "now", "arguments": "{}"}
    wrong = [TOOL, tool({"$ref": "#/nope"})]
    refused = engine.chat("hi", tools=wrong, tool_choice=allowed("required", "f"))
    assert error(refused)["param"] == "tools[1].function.parameters"
    assert engine.chat(script("ok", "<|end|>"), tools=wrong, tool_choice=allowed("required", "add")).status == 200


def require(command: list[str], text: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        asyncio.run(schemas.Schemas(command).require(Form(text, ("response_format",))))
    return refused.value


def test_without_llguidance_the_host_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    (tmp_path / "llguidance.py").write_text('raise ImportError("version GLIBC_2.30 not found")')
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from phi4_engine.grammar_check import main; main()"
    refused = require([sys.executable, "-c", program], 'start: "a"')
    assert (refused.status, refused.code, refused.param) == (400, "unsupported_parameter", "response_format")
    assert refused.message.startswith("JSON and forced tools need glibc 2.31 on this gateway, found glibc 2.")


def test_a_check_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "WALL_SECONDS", 0.3)
    began = time.monotonic()
    refused = require([sys.executable, "-c", "import time; time.sleep(60)"], 'start: "a"')
    assert refused.status == 400
    assert time.monotonic() - began < 10


def test_a_host_that_has_no_process_left_is_busy() -> None:
    refused = require(["/nonexistent/python"], 'start: "a"')
    assert (refused.status, refused.code) == (503, "too_many_requests")
    assert refused.headers["Retry-After"]


def test_few_wait_for_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "WALL_SECONDS", 0.3)

    async def many() -> list[Any]:
        found = schemas.Schemas([sys.executable, "-c", "import time; time.sleep(60)"])
        asked = [found.require(Form(f'start: "{at}"', ("response_format",))) for at in range(12)]
        first = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.wait_for(first, 30)
        return list(first.result())

    statuses = [one.status for one in asyncio.run(many())]
    assert statuses.count(503) == 4
    assert statuses.count(400) == 8
