"""llm-comply's suites for OpenAI's chat completions and Open Responses, and the latter's schemas for every event."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import llm_comply
import pytest
from client import Engine
from conftest import StartEngine
from llm_comply.schema import SSE_EVENT_TO_SCHEMA
from schema_table import closed
from shapes import given, script, streamed

SPEC = json.loads((Path(llm_comply.__file__).parent / "specs" / "openresponses.json").read_text(encoding="utf-8"))
# By the letter nobody may tell which schema it was; OpenAI does, and its client expects it.
SPEC["components"]["schemas"]["JsonSchemaResponseFormat"]["properties"]["schema"] = {"type": "object"}
# A missing model is this one, pictures cannot be read, this is no model that reasons.
CHAT = {
    **dict.fromkeys(("basic-response", "system-prompt", "multi-turn", "tool-calling"), "passed"),
    **dict.fromkeys(("streaming-response", "streaming-usage"), "passed"),
    "image-input": "failed",
    "reasoning-summary": "skipped",
    "error-handling": "failed",
}
RESPONSES = {
    **CHAT,
    **dict.fromkeys(("assistant-phase", "response-output-phase-schema"), "passed"),
    # There is no such path, which the suite allows.
    **dict.fromkeys(("compact-response", "compact-missing-model"), "passed"),
}
SUITES = {"openai-chat": {f"chat-{name}": status for name, status in CHAT.items()}, "open-responses": RESPONSES}
MODEL = "phi-4-mini-instruct"
WHY = {"image-input": "HTTP 400", "error-handling": "HTTP 200"}


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_but_for_what_is_left_out(start: StartEngine, suite: str) -> None:
    engine = start(PHI4_CONTEXT_LENGTH="4000")
    engine.wait_for(200)
    command = [sys.executable, "-m", "llm_comply.cli", "--format", suite, "--json"]
    where = ["-u", f"http://127.0.0.1:{engine.port}/v1", "-k", "none", "-m", MODEL]
    ran = subprocess.run([*command, *where], capture_output=True, text=True, timeout=300, check=False)
    found = json.loads(ran.stdout)["results"]
    assert {one["id"]: one["status"] for one in found} == SUITES[suite], ran.stdout
    for one in found:
        assert one["status"] != "failed" or WHY[one["id"].removeprefix("chat-")] in one["errors"][0]
        assert "warnings" not in one or one["id"] == "compact-response"


def problems(value: Any, schema: str) -> list[str]:
    """What is wrong with it by the specification."""
    validator = jsonschema_rs.validator_for({**SPEC, "$ref": f"#/components/schemas/{schema}"})
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


DIGIT: dict[str, Any] = {"type": "function", "name": "digit", "parameters": closed(a={"enum": [1, 2]}), "strict": True}
CALL = ("<|tool_call|>", '[{"name":"digit","arguments":{"a":1}}]', "<|/tool_call|>", "<|end|>")
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": (script("Hé", "<|end|>"), {"instructions": "Short.", "metadata": {"a": "b"}, "prompt_cache_key": "k"}),
    "nothing": (script("<|end|>"), {"safety_identifier": "s", "temperature": 0, "top_p": 0.5}),
    "logprobs": (script("Hé", "<|end|>"), {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
    "object": (script("{}", "<|end|>"), {"text": {"format": {"type": "json_object"}}}),
    "schema": (
        script("No.", "<|end|>"),
        {"text": {"format": {"type": "json_schema", "name": "at", "schema": closed(n={"const": None})}}},
    ),
    "call": (script(*CALL), {"tools": [DIGIT]}),
    "text and call": (script("So:", *CALL), {"tools": [DIGIT], "parallel_tool_calls": False}),
    "forced": (script("No.", "<|end|>"), {"tools": [DIGIT], "tool_choice": "required"}),
    "named": (script("No.", "<|end|>"), {"tools": [DIGIT], "tool_choice": {"type": "function", "name": "digit"}}),
    "allowed": (
        script("No.", "<|end|>"),
        {"tools": [DIGIT], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "digit"}]}},
    ),
    "cut": (script("abcdef"), {"max_output_tokens": 3}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_and_events_are_valid(engine: Engine, name: str) -> None:
    said, fields = ANSWERS[name]
    assert problems(given(engine, "/v1/responses", {"input": said, **fields}), "ResponseResource") == []
    for event in streamed(engine, "/v1/responses", {"input": said, **fields}):
        assert problems(event, SSE_EVENT_TO_SCHEMA[event["type"]]) == [], event


def test_a_failure_is_valid_too(engine: Engine) -> None:
    *_, last = streamed(engine, "/v1/responses", {"input": script("x", do="fail")})
    assert problems(last, SSE_EVENT_TO_SCHEMA["response.failed"]) == []
