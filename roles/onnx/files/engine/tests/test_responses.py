"""OpenAI's Responses: the object, the order of its events, and what is refused because nothing is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from client import Engine
from conftest import StartEngine
from openai import OpenAI
from schema_table import USUAL, closed
from shapes import error, given, script, streamed

ADD: Any = {"type": "function", "name": "add", "description": "Adds.", "parameters": {"type": "object"}}
DIGIT = closed(a={"type": "integer", "minimum": 0, "maximum": 9})
STRICT: Any = {"type": "function", "name": "digit", "parameters": DIGIT, "strict": True}
ALLOWED = {"type": "allowed_tools", "tools": [{"type": "function", "name": "digit"}]}
CALL = '[{"name":"add","arguments":{"a":1}},{"name":"add","arguments":{}}]'


def respond(engine: Engine, said: Any, **fields: Any) -> dict[str, Any]:
    return given(engine, "/v1/responses", {"input": said, **fields})


def events(engine: Engine, said: Any, **fields: Any) -> list[Any]:
    found = streamed(engine, "/v1/responses", {"input": said, **fields})
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def shown(engine: Engine, said: Any, **fields: Any) -> Any:
    """The messages that reached the model."""
    return json.loads(respond(engine, said, **fields)["output"][0]["content"][0]["text"])


def test_a_response_has_the_shape_of_openai(engine: Engine) -> None:
    said = script("Hé", "<|end|>")
    body = respond(engine, said, model="phi-4-mini-instruct", store=True, metadata={"a": "b"}, temperature=0.5)
    assert body["id"].startswith("resp_")
    assert (body["object"], body["status"], body["error"], body["store"]) == ("response", "completed", None, False)
    assert (body["metadata"], body["temperature"], body["top_p"]) == ({"a": "b"}, 0.5, 1.0)
    [message] = body["output"]
    assert message["id"].startswith("msg_")
    assert message | {"id": ""} == {
        "type": "message", "id": "", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "Hé", "annotations": [], "logprobs": []}],
    }  # fmt: skip
    count = len(said.encode())
    assert body["usage"] == {
        "input_tokens": count, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": count + 4,
    }  # fmt: skip


def test_an_answer_that_is_cut_is_incomplete(engine: Engine) -> None:
    body = respond(engine, script("abcdef"), max_output_tokens=3)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (body["output"][0]["status"], body["output"][0]["content"][0]["text"]) == ("incomplete", "abc")
    last = events(engine, script("abcdef"), max_output_tokens=3)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")


def test_items_reach_the_model_as_messages(start: StartEngine) -> None:
    engine = start(PHI4_CONTEXT_LENGTH="2000")
    engine.wait_for(200)
    parts = [{"type": "input_text", "text": "1+"}, {"type": "input_text", "text": "1?"}]
    items = [
        {"role": "developer", "content": "Short."},
        {"type": "message", "role": "user", "content": parts},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "2", "annotations": []}]},
        {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    messages = shown(engine, items, instructions="Be kind.", tools=[ADD])
    assert json.loads(messages[0].pop("tools"))[0]["name"] == "add"
    call = '<|tool_call|>[{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {}}]<|/tool_call|>'
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "Be kind."),
        ("system", "Short."),
        ("user", "1+1?"),
        ("assistant", call),
        ("tool_response", "2"),
        ("assistant", "2"),
        ("user", "And now?"),
    ]
    assert shown(engine, "hi") == [{"role": "user", "content": "hi"}]
    assert "tools" not in shown(engine, "hi", tools=[ADD], tool_choice="none")[0]


def test_function_calls_are_items_behind_the_text(engine: Engine) -> None:
    said = script("So:", "<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>")
    message, first, second = respond(engine, said, tools=[ADD])["output"]
    assert message["content"][0]["text"] == "So:"
    assert (first["type"], first["name"], first["arguments"]) == ("function_call", "add", '{"a": 1}')
    assert first["call_id"] != second["call_id"]
    alone = script("<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>")
    assert [item["type"] for item in respond(engine, alone, tools=[ADD])["output"]] == ["function_call"] * 2
    [text] = respond(engine, alone)["output"]
    assert text["content"][0]["text"] == CALL, "nothing was offered"


PART = ["response.output_item.added", "response.content_part.added"]
DONE = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
CALLED = [
    "response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done",
    "response.output_item.done",
]  # fmt: skip


@pytest.mark.parametrize(
    ("say", "order"),
    [
        (["Hi", "<|end|>"], [*PART, *["response.output_text.delta"] * 2, *DONE]),
        (["<|end|>"], [*PART, *DONE]),
        (["H", "<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>"],
         [*PART, "response.output_text.delta", *DONE, *CALLED, *CALLED]),
        (["<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>"], [*CALLED, *CALLED]),
        (["<|tool_call|>", "[{", "<|/tool_call|>", "<|end|>"], [*PART, "response.output_text.delta", *DONE]),
    ],
)  # fmt: skip
def test_events_come_in_the_order_of_openai(engine: Engine, say: list[str], order: list[str]) -> None:
    found = events(engine, script(*say), tools=[ADD])
    kinds = [event["type"] for event in found]
    assert kinds == ["response.created", "response.in_progress", *order, "response.completed"]
    whole = found[-1]["response"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == whole["output"]
    deltas = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert deltas == "".join(item["content"][0]["text"] for item in whole["output"] if item["type"] == "message")
    for event in found:
        if "item_id" in event:
            assert event["item_id"] == whole["output"][event["output_index"]]["id"]


def text_of(body: dict[str, Any]) -> str:
    [message] = body["output"]
    return str(message["content"][0]["text"])


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({"type": "json_object"}, {}),
        ({"type": "json_schema", "name": "at", "schema": closed(n={"const": None})}, {"n": None}),
        ({"type": "json_schema", "name": "at", "schema": USUAL["enum"], "strict": True}, {"n": None}),
    ],
)
def test_a_text_in_a_form_has_no_other_choice(engine: Engine, form: dict[str, Any], wanted: dict[str, Any]) -> None:
    said = script("{}" if form["type"] == "json_object" else "Sure! Here it is:", "<|end|>")
    asked: dict[str, Any] = {"text": {"format": form}, "seed": 1}
    body = respond(engine, said, **asked)
    assert wanted.items() <= json.loads(text_of(body)).items()
    assert {"strict": False, **form}.items() <= {"strict": False, **body["text"]["format"]}.items()
    found = events(engine, said, **asked)
    deltas = [event["delta"] for event in found if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(found[-1]["response"]) == text_of(body)
    assert [event["type"] for event in found][-4:] == [*DONE, "response.completed"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"tool_choice": "required", "tools": [STRICT], "parallel_tool_calls": False}, ["digit"]),
        ({"tool_choice": {"type": "function", "name": "digit"}, "tools": [ADD, STRICT]}, ["digit"]),
        ({"tool_choice": {"type": "function", "name": "add"}, "tools": [ADD, STRICT]}, ["add"]),
        (
            {"tool_choice": ALLOWED | {"mode": "required"}, "tools": [ADD, STRICT], "parallel_tool_calls": False},
            ["digit"],
        ),
    ],
)
def test_a_forced_call_is_a_call(engine: Engine, fields: dict[str, Any], names: list[str]) -> None:
    said, fields = script("No.", "<|end|>"), {**fields, "seed": 1}
    body = respond(engine, said, **fields)
    assert [item["name"] for item in body["output"]] == names
    assert all(isinstance(json.loads(item["arguments"]), dict) for item in body["output"])
    assert (body["tool_choice"], body["tools"][-1]["strict"]) == (fields["tool_choice"], True)
    assert body["parallel_tool_calls"] is fields.get("parallel_tool_calls", True)
    found = events(engine, said, **fields)
    kinds = [event["type"] for event in found]
    assert kinds == ["response.created", "response.in_progress", *CALLED, "response.completed"]
    assert [item["arguments"] for item in found[-1]["response"]["output"]] == [
        item["arguments"] for item in body["output"]
    ]


def test_a_strict_function_is_free_text_until_it_is_called(engine: Engine) -> None:
    assert text_of(respond(engine, script("No call.", "<|end|>"), tools=[STRICT])) == "No call."
    wrong = '[{"name":"digit","arguments":{"b":"no"}}]'
    say = script("Hm.", "<|tool_call|>", wrong, "<|/tool_call|>", "<|end|>")
    message, call = respond(engine, say, tools=[STRICT], parallel_tool_calls=False)["output"]
    assert message["content"][0]["text"] == "Hm."
    assert list(json.loads(call["arguments"])) == ["a"]


def test_of_free_calls_a_client_without_parallel_calls_gets_the_first(engine: Engine) -> None:
    say = script("<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>")
    [call] = respond(engine, say, tools=[ADD], parallel_tool_calls=False)["output"]
    assert json.loads(call["arguments"]) == {"a": 1}


def test_a_call_of_a_function_that_is_offered_and_not_allowed_is_text(engine: Engine) -> None:
    say = script("<|tool_call|>", '{"name":"add","arguments":{}}', "<|/tool_call|>", "<|end|>")
    loose = {**STRICT, "strict": False}
    body = respond(engine, say, tools=[ADD, loose], tool_choice=ALLOWED)
    assert text_of(body) == '{"name":"add","arguments":{}}'
    assert body["tool_choice"] == {**ALLOWED, "mode": "auto"}
    assert [item["type"] for item in respond(engine, say, tools=[ADD, loose])["output"]] == ["function_call"]


def test_logprobs_are_told_where_they_are_asked_for(engine: Engine) -> None:
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    part = respond(engine, script("Hé", "<|end|>"), **asked)["output"][0]["content"][0]
    assert "".join(one["token"] for one in part["logprobs"]) == "Hé"
    found = events(engine, script("Hé", "<|end|>"), **asked)
    deltas = [event for event in found if event["type"] == "response.output_text.delta"]
    assert [one for event in deltas for one in event["logprobs"]] == part["logprobs"]


def test_a_failure_in_the_middle_is_a_failed_response(engine: Engine) -> None:
    last = events(engine, script("x", do="fail"))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert "bad allocation" in last["response"]["error"]["message"]
    answer = engine.post("/v1/responses", {"input": script("x", do="fail")})
    assert (answer.status, error(answer)["code"]) == (500, "generation_failed")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": 7}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "strin"}}}}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search", "name": "x"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any", "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "no"}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "function"}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": []}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": ALLOWED, "tools": [ADD]}, "tool_choice"),
        ({"tool_choice": "required", "tools": [ADD, {**STRICT, "parameters": {"$ref": "#/no"}}]},
         "tools[1].parameters"),
        ({"tools": [{**STRICT, "parameters": {"type": "string"}}]}, "tools[0].parameters"),
        ({"parallel_tool_calls": 7}, "parallel_tool_calls"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"input": "a\0"}, "input[0].content"),
        ({"instructions": "a\0"}, "instructions"),
        ({"input": script(prompt_tokens=4000)}, "input"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_a_400_with_its_place(engine: Engine, fields: dict[str, Any], param: str) -> None:
    answer = engine.post("/v1/responses", {"input": "hi"} | fields)
    assert answer.status == 400, answer.body
    assert error(answer)["param"] == param


def test_openais_client_asks_for_responses(engine: Engine) -> None:
    with OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0, timeout=60) as client:
        made = client.responses.create(model="phi-4-mini-instruct", input=script("Hé", "<|end|>"))
        assert (made.output_text, made.status) == ("Hé", "completed")
        said = script("Hé", "<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>")
        with client.responses.stream(model="phi-4-mini-instruct", input=said, tools=[ADD]) as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(texts) == final.output_text == "Hé"
        assert [item.name for item in final.output if item.type == "function_call"] == ["add", "add"]


def test_a_response_says_what_the_chat_says(real: Engine) -> None:
    said = real.chat("Hi", max_tokens=24, temperature=0).json()["choices"][0]["message"]["content"]
    body = respond(real, "Hi", max_output_tokens=24, temperature=0)
    assert body["output"][0]["content"][0]["text"] == said
