"""Prompts and calls of tools in the stand-in are made and read as Ollama does it for Phi-4-mini."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.standins.ollama import TOOLS, Ollama

CALL = '{"name": "weather", "arguments": {"city": "Seoul"}}'


def prompt(one: Ollama, messages: list[dict[str, str]], **more: Any) -> str:
    asked = {"model": "tiny", "messages": messages, "stream": False, "_debug_render_only": True, **more}
    found: str = one.post("/api/chat", asked).json()["_debug_info"]["rendered_template"]
    return found


def test_system_messages_are_joined_and_come_first(served: Ollama) -> None:
    said = [("user", "Hello"), ("system", "One."), ("assistant", "Hi"), ("system", "Two."), ("user", "Bye")]
    found = prompt(served, [{"role": role, "content": text} for role, text in said])
    assert found == (
        "<|system|>One.\n\nTwo.<|end|><|user|>Hello<|end|><|assistant|>Hi<|end|><|user|>Bye<|end|><|assistant|>"
    )


def test_a_last_message_of_the_assistant_is_continued(served: Ollama) -> None:
    said = [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "1, 2,"}]
    assert prompt(served, said) == "<|user|>Count<|end|><|assistant|>1, 2,"


def test_tools_are_compact_json_without_signs_of_html(served: Ollama) -> None:
    tool = {"type": "function", "function": {"name": "weather", "description": "a < b & c > d", "parameters": {}}}
    found = prompt(served, [{"role": "user", "content": "Hello"}], tools=[tool])
    assert (
        '<|tool|>[{"name":"weather","description":"a \\u003c b \\u0026 c \\u003e d","parameters":{}}]<|/tool|>' in found
    )


@pytest.mark.parametrize(("settings", "tools"), [({}, False), ({"OLLAMA_GO_TEMPLATE": "1"}, True)])
def test_the_template_in_the_file_wins_unless_it_is_told(
    ollama: Callable[..., Ollama], settings: dict[str, str], tools: bool
) -> None:
    one = ollama(**settings)
    one.create(template="{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}")
    assert ("tools" in one.post("/api/show", {"model": "tiny"}).json()["capabilities"]) is tools


@pytest.mark.parametrize(
    ("said", "text", "calls"),
    [
        (f"<|tool_call|>[{CALL}]<|/tool_call|>", "", 1),
        (f"<|tool_call|>[{CALL}, {CALL}]<|/tool_call|>", "", 2),
        (f"I look. <|tool_call|>[{CALL}]<|/tool_call|>", "I look.", 1),
        (f'<|tool_call|>[{{"type": "function", "function": {CALL}}}]<|/tool_call|>', "", 1),
        ('<|tool_call|>[{"name": "unknown", "arguments": {}}]<|/tool_call|>', "", 0),
        (CALL, CALL, 0),
    ],
)
def test_calls_are_found_behind_their_token_and_unknown_ones_vanish(
    served: Ollama, said: str, text: str, calls: int
) -> None:
    messages = [{"role": "user", "content": f"Say exactly: {said}"}]
    asked = {"model": "tiny", "messages": messages, "tools": TOOLS}
    found = served.post("/v1/chat/completions", asked).json()["choices"][0]
    assert found["message"]["content"] == text
    called = found["message"].get("tool_calls", [])
    assert [one["function"] for one in called] == [{"name": "weather", "arguments": '{"city":"Seoul"}'}] * calls
    assert found["finish_reason"] == ("tool_calls" if calls else "stop")
