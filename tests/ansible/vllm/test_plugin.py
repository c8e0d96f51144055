"""vLLM's plugin: what is a tool call in Phi-4-mini's text, whole and streamed, and how a conversation is written."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

PLUGIN = Path(__file__).parents[3] / "roles" / "vllm" / "files" / "plugin"
ADD = {"name": "add", "arguments": {"numbers": [1, 2, [3, {"x": ']}"['}]], "say": "ü\n"}}
OPEN, CLOSE = "<|tool_call|>", "<|/tool_call|>"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plugin_tool_calls", PLUGIN / "tool_calls.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


calls = load()


def found(text: str) -> tuple[str, list[tuple[str, Any]]]:
    rest, made = calls.parse(text)
    return rest, [(call.name, json.loads(call.arguments)) for call in made]


def written(*items: object) -> str:
    return json.dumps(list(items), ensure_ascii=False)


ADDED = ("add", ADD["arguments"])


@pytest.mark.parametrize(
    ("text", "rest", "made"),
    [
        ("Just text.", "Just text.", []),
        (OPEN + written(ADD) + CLOSE, "", [ADDED]),
        ("functools" + written(ADD), "", [ADDED]),
        ("I will add. " + OPEN + written(ADD, {"name": "stop"}) + CLOSE, "I will add. ", [ADDED, ("stop", {})]),
        (OPEN + written(ADD) + CLOSE + OPEN + written(ADD) + CLOSE, "", [ADDED, ADDED]),
        (OPEN + "\n " + written(ADD) + " \n" + CLOSE + " Done.", " Done.", [ADDED]),
        (OPEN + json.dumps(ADD) + CLOSE, "", [ADDED]),
        (OPEN + written(ADD), "", [ADDED]),
        (OPEN + written({"name": "f", "parameters": {"a": 1}}) + CLOSE, "", [("f", {"a": 1})]),
        (OPEN + written({"name": "f", "arguments": '{"a": [1]}'}) + CLOSE, "", [("f", {"a": [1]})]),
    ],
)
def test_calls_are_found_and_text_is_kept(text: str, rest: str, made: list[tuple[str, Any]]) -> None:
    assert found(text) == (rest, made)


@pytest.mark.parametrize(
    "text",
    [
        OPEN + '[{"name": "f", "arguments": {"a": 1}' + CLOSE,
        OPEN + '[{"name": "f"}, {"nome": "g"}]' + CLOSE,
        OPEN + '[{"name": "f", "arguments": [1]}]' + CLOSE,
        OPEN + '[{"name": "f", "arguments": "not JSON"}]' + CLOSE,
        OPEN + '[{"name": "f", "arguments": {"a": NaN}}]' + CLOSE,
        OPEN + '[{"name": 5}]' + CLOSE,
        OPEN + "[]" + CLOSE,
        OPEN + "{" * 100_000,
        OPEN + "[{'name': 'f'}]" + CLOSE,
        OPEN + "nothing" + CLOSE,
        OPEN,
        "functools[1, 2]",
        "functools[] functools.partial(f) func",
        "a ] b } c",
    ],
)
def test_what_only_looks_like_a_call_stays_text(text: str) -> None:
    assert found(text) == (text, [])


def test_a_call_inside_of_what_is_none_is_found() -> None:
    assert found(OPEN + '[{"name": ' + OPEN + written(ADD) + CLOSE) == (OPEN + '[{"name": ', [ADDED])


PIECES = st.lists(
    st.sampled_from(
        [
            OPEN, CLOSE, "functools", "[", "]", "{", "}", '"', "\\", " ", "\n", "<|", "<|tool", "func", "text", ",",
            '{"name": "f", "arguments": {"a": [1, "]"]}}', '[{"name": "g"}]', '"name"', "<|/tool_", "ü", "0", "NaN",
        ]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(text=PIECES, cuts=st.lists(st.integers(0, 200), max_size=40))
def test_streaming_gives_what_the_whole_text_gives(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    flow, pieces = calls.ToolCalls(), []
    for begin, end in itertools.pairwise(places):
        pieces += flow.push(text[begin:end])
    assert calls.split(pieces + flow.finish()) == calls.parse(text)


@settings(max_examples=200)
@given(text=st.text(max_size=80), arguments=st.dictionaries(st.text(max_size=5), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)), max_size=3,
))  # fmt: skip
def test_any_arguments_survive(text: str, arguments: dict[str, Any]) -> None:
    for opener, closer in ((OPEN, CLOSE), ("functools", "")):
        assert found(f"{text}{opener}{written({'name': 'f', 'arguments': arguments})}{closer}") == (
            text, [("f", arguments)]
        )  # fmt: skip


def test_text_is_sent_as_soon_as_it_can_be_no_call() -> None:
    flow = calls.ToolCalls()
    assert flow.push("Hello <|to") == ["Hello "]
    assert flow.push("day") == ["<|today"]
    assert flow.push(OPEN + '[{"name": "f"}') == []
    (call,) = flow.push("]")
    assert call.name == "f"
    assert flow.push(CLOSE + "func") == []
    assert flow.finish() == ["func"]


def render(messages: list[dict[str, Any]], **values: Any) -> str:
    """As Hugging Face's and vLLM's renderers do."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string((PLUGIN / "chat_template.jinja").read_text())
    return str(template.render(messages=messages, eos_token="<|endoftext|>", **values))


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SPECIFIED = '<|tool|>[{"name": "add", "parameters": {"type": "object"}}]<|/tool|>'


def test_a_conversation_without_tools_is_the_models_own_format() -> None:
    messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert render(messages, add_generation_prompt=True) == ("<|system|>Be short.<|end|><|user|>Hi<|end|><|assistant|>")
    assert render(messages, add_generation_prompt=False).endswith("Hi<|end|><|endoftext|>")


def test_tools_stand_in_the_system_message() -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1?"}]
    assert render(messages, tools=[TOOL]).startswith(f"<|system|>Be short.{SPECIFIED}<|end|><|user|>1+1?<|end|>")
    assert render(messages[1:], tools=[TOOL]).startswith(
        f"<|system|>You are a helpful assistant with some tools.{SPECIFIED}<|end|><|user|>"
    )


def test_calls_and_results_go_back_as_the_model_wrote_them() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": [1]}}}
    messages = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
    ]
    text = render(messages, add_generation_prompt=True)
    again = '<|assistant|><|tool_call|>[{"name": "add", "arguments": {"a": [1]}}]<|/tool_call|><|end|>'
    assert text == f"<|user|>1+1?<|end|>{again}<|tool_response|>2<|end|><|assistant|>"
    assert found(again.removeprefix("<|assistant|>").removesuffix("<|end|>")) == ("", [("add", {"a": [1]})])
