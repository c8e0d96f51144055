"""The API under /v1 as Ollama translates it from and to its own (openai/openai.go, middleware/openai.go)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

from .create import RefusedError

Json = dict[str, Any]
CHAT = {
    "model": str, "messages": list, "stream": bool, "stream_options": dict, "max_tokens": int, "seed": int,
    "stop": (str, list), "temperature": (int, float), "frequency_penalty": (int, float),
    "presence_penalty": (int, float), "top_p": (int, float), "response_format": dict, "tools": list,
}  # fmt: skip
COMPLETIONS = {**CHAT, "prompt": str}
OPTIONS = ("temperature", "seed", "frequency_penalty", "presence_penalty", "top_p")
FINGERPRINT = "fp_ollama"


def options(request: Json) -> Json:
    """The request's settings under Ollama's own names; max_completion_tokens and tool_choice are ignored, as there."""
    found = {name: request[name] for name in OPTIONS if request.get(name) is not None}
    if request.get("max_tokens") is not None:
        found["num_predict"] = request["max_tokens"]
    stop = request.get("stop")
    if stop is not None:
        found["stop"] = [stop] if isinstance(stop, str) else stop
    found.setdefault("temperature", 1.0)
    found.setdefault("top_p", 1.0)
    return found


def chat_request(request: Json) -> Json:
    """The request for /api/chat. Raises RefusedError for messages that Ollama cannot translate."""
    messages = request.get("messages") or []
    if not messages:
        raise RefusedError("[] is too short - 'messages'", 400)
    return {
        "model": request.get("model", ""), "messages": [message(one) for one in messages],
        "options": options(request), **({"tools": request["tools"]} if request.get("tools") else {}),
    }  # fmt: skip


def message(one: Json) -> Json:
    """A message with its text; parts of type text are joined, calls of tools are read from their JSON."""
    content = one.get("content")
    if isinstance(content, list):
        if any(part.get("type") != "text" for part in content):
            raise RefusedError("invalid message format", 400)
        content = "\n".join(part["text"] for part in content)
    if content is None and one.get("tool_calls"):
        try:
            calls = [json.loads(call["function"]["arguments"]) for call in one["tool_calls"]]
        except ValueError:
            raise RefusedError("invalid tool call arguments", 400) from None
        return {"role": one.get("role", ""), "content": "", "tool_calls": calls}
    if not isinstance(content, str):
        raise RefusedError(f"invalid message content type: {type(content).__name__}", 400)
    return {"role": one.get("role", ""), "content": content}


def completion_request(request: Json) -> Json:
    return {"model": request.get("model", ""), "prompt": request.get("prompt", ""), "options": options(request)}


def tool_calls(message: Json) -> list[Json]:
    return [
        {
            "id": "call_" + "".join(random.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8)),
            "index": call["function"]["index"], "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"]["arguments"], separators=(",", ":")),
            },
        }
        for call in message.get("tool_calls", [])
    ]  # fmt: skip


def usage(last: Json) -> Json:
    prompted, said = last.get("prompt_eval_count", 0), last.get("eval_count", 0)
    return {"prompt_tokens": prompted, "completion_tokens": said, "total_tokens": prompted + said}


def chat_whole(request: Json, last: Json) -> Json:
    """One chat.completion."""
    calls = tool_calls(last["message"])
    reason = "tool_calls" if calls and last["done_reason"] == "stop" else last["done_reason"]
    shown = {"role": "assistant", "content": last["message"]["content"], **({"tool_calls": calls} if calls else {})}
    return {
        **frame("chatcmpl", "chat.completion", request),
        "choices": [{"index": 0, "message": shown, "finish_reason": reason}], "usage": usage(last),
    }  # fmt: skip


def frame(prefix: str, kind: str, request: Json) -> Json:
    return {
        "id": f"{prefix}-{random.randint(1, 999)}", "object": kind, "created": int(time.time()),
        "model": request.get("model", ""), "system_fingerprint": FINGERPRINT,
    }  # fmt: skip


def chat_chunks(request: Json, answers: Iterator[Json]) -> Iterator[Json]:
    """Chunks of a stream: the role in the first, the reason in one of its own, the counts where they were asked for."""
    base = frame("chatcmpl", "chat.completion.chunk", request)
    first, called = True, False
    for answer in answers:
        if "error" in answer:
            yield {"error": answer["error"]}
            return
        calls = tool_calls(answer["message"])
        called = called or bool(calls)
        if first or calls or answer["message"]["content"]:
            delta = {"content": answer["message"]["content"], **({"tool_calls": calls} if calls else {})}
            delta = {"role": "assistant", **delta} if first else delta
            yield {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            first = False
        if answer["done"]:
            reason = "tool_calls" if called and answer["done_reason"] == "stop" else answer["done_reason"]
            yield {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
            if (request.get("stream_options") or {}).get("include_usage"):
                yield {**base, "choices": [], "usage": usage(answer)}


def completion_whole(request: Json, last: Json) -> Json:
    """One text_completion."""
    choice = {"text": last["response"], "index": 0, "finish_reason": last["done_reason"]}
    return {**frame("cmpl", "text_completion", request), "choices": [choice], "usage": usage(last)}


def completion_chunks(request: Json, answers: Iterator[Json]) -> Iterator[Json]:
    """Chunks of a stream of text."""
    base = frame("cmpl", "text_completion", request)
    for answer in answers:
        choice = {"text": answer["response"], "index": 0, "finish_reason": answer.get("done_reason")}
        yield {**base, "choices": [choice]}
        if answer["done"] and (request.get("stream_options") or {}).get("include_usage"):
            yield {**base, "choices": [], "usage": usage(answer)}


def error(message: str, status: int) -> Json:
    """An error as OpenAI's clients read it."""
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def listed(models: list[Json], stamps: dict[str, int]) -> Json:
    """What /v1/models says."""
    data = [
        {"id": one["name"], "object": "model", "created": stamps[one["name"]], "owned_by": "library"} for one in models
    ]
    return {"object": "list", "data": data}
