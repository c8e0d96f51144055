"""The bodies of a response: the whole object, and the typed events of a stream in OpenAI's order."""

from __future__ import annotations

import time
import uuid
from typing import Any

from phi4_engine import chat
from phi4_engine.answers import Content
from phi4_engine.errors import ApiError
from phi4_engine.responses.request import ResponsesRequest, wish
from phi4_engine.runs import Run
from phi4_engine.wire import Finished, Text, TokenLogprob

Event = dict[str, Any]


class ResponseEnvelope:
    """Of one response. A stream's message comes first and its function calls, whole, after it."""

    end = b""

    def __init__(self, request: ResponsesRequest, answer_id: str, model: str, limit: int) -> None:
        self._wish = wish(request)
        self._common = _common(request, answer_id, model, limit)
        self._message_id = f"msg_{uuid.uuid4().hex}"
        self._content = Content()
        self._output: list[dict[str, Any]] = []
        self._incomplete = False
        self._number = 0

    def whole(self, contents: list[Content], run: Run) -> dict[str, Any]:
        """The response."""
        self._content = contents[0]
        self._finish(run.finished[0])
        return self._response(run)

    def beginning(self) -> list[Event]:
        """Before the request has its turn."""
        return [self._event("response.created", response=self._response())]

    def opening(self, index: int) -> list[Event]:
        """Its turn has come."""
        return [self._event("response.in_progress", response=self._response())]

    def more(self, piece: Text) -> list[Event]:
        """More of the text; before the first, the message that it belongs to."""
        found = [] if self._content.text else self._message_begins()
        self._content.text += piece.text
        self._content.logprobs += piece.logprobs
        return [*found, self._part("response.output_text.delta", delta=piece.text, logprobs=piece.logprobs)]

    def closing(self, finished: Finished) -> list[Event]:
        """The end of the message, and the function calls."""
        told = self._content.text
        self._finish(finished)
        found: list[Event] = []
        for at, item in enumerate(self._output):
            if item["type"] == "message":
                if not told:
                    found += self._message_begins()
                rest = self._content.text[len(told) :]
                if rest:
                    found.append(self._part("response.output_text.delta", delta=rest, logprobs=[]))
                [part] = item["content"]
                done = {"text": part["text"], "logprobs": part["logprobs"]}
                found.append(self._part("response.output_text.done", **done))
                found.append(self._part("response.content_part.done", part=part))
            else:
                found += self._call(at, item)
            found.append(self._event("response.output_item.done", output_index=at, item=item))
        return found

    def ending(self, run: Run, *, usage: bool) -> list[Event]:
        """The whole response once more; its usage is always there."""
        kind = "response.incomplete" if self._incomplete else "response.completed"
        return [self._event(kind, response=self._response(run))]

    def failing(self, error: ApiError) -> Event:
        """The response as far as it came, with the error."""
        told = {"code": "server_error", "message": error.message}
        return self._event("response.failed", response={**self._response(), "status": "failed", "error": told})

    def _finish(self, finished: Finished) -> None:
        """The items of the answer are known."""
        calls = chat.permitted_calls(self._wish, finished.tool_text)
        if finished.tool_text and not calls:
            self._content.text += finished.tool_text
        self._incomplete = finished.reason == "length"
        if self._content.text or not calls:
            self._output.append(_message(self._message_id, self._content, "incomplete" if self._incomplete else None))
        for call in calls:
            item = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call["id"]}
            self._output.append({**item, **call["function"], "status": "completed"})

    def _response(self, run: Run | None = None) -> dict[str, Any]:
        """As it is now; with a run, as it is at the end."""
        if run is None:
            return {**self._common, "status": "in_progress", "output": [], "usage": None}
        details = {"reason": "max_output_tokens"} if self._incomplete else None
        usage = run.usage()
        return {
            **self._common,
            "status": "incomplete" if self._incomplete else "completed",
            "completed_at": None if self._incomplete else int(time.time()),
            "incomplete_details": details,
            "output": self._output,
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"],
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        }

    def _message_begins(self) -> list[Event]:
        item = {**_message(self._message_id, Content(), "in_progress"), "content": []}
        return [
            self._event("response.output_item.added", output_index=0, item=item),
            self._part("response.content_part.added", part=_output_text("", [])),
        ]

    def _call(self, at: int, item: dict[str, Any]) -> list[Event]:
        place = {"item_id": item["id"], "output_index": at}
        begun = {**item, "arguments": "", "status": "in_progress"}
        done = {"name": item["name"], "arguments": item["arguments"]}
        return [
            self._event("response.output_item.added", output_index=at, item=begun),
            self._event("response.function_call_arguments.delta", **place, delta=item["arguments"]),
            self._event("response.function_call_arguments.done", **place, **done),
        ]

    def _part(self, kind: str, **fields: Any) -> Event:
        place = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **fields)

    def _event(self, kind: str, **fields: Any) -> Event:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **fields}


def _common(request: ResponsesRequest, answer_id: str, model: str, limit: int) -> dict[str, Any]:
    """What of a response is known before its answer. What was left out shows what it stands for."""
    said = chat.sampling(request)
    tools = [{**tool.model_dump(), "strict": tool.strict or False} for tool in request.tools or ()]
    nothing = ("error", "incomplete_details", "previous_response_id", "max_tool_calls", "user", "completed_at")
    return dict.fromkeys(nothing) | {
        "id": answer_id,
        "object": "response",
        "created_at": int(time.time()),
        "background": False,
        "instructions": request.instructions,
        "max_output_tokens": limit if request.max_output_tokens is None else request.max_output_tokens,
        "metadata": request.metadata or {},
        "model": model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "presence_penalty": said.presence_penalty,
        "frequency_penalty": said.frequency_penalty,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": said.temperature,
        "text": {"format": _format(request)},
        "tool_choice": _choice(request),
        "tools": tools,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": said.top_p,
        "truncation": "disabled",
    }


def _format(request: ResponsesRequest) -> dict[str, Any]:
    form = request.text.format if request.text else None
    if form is None or form.type != "json_schema":
        return {"type": form.type if form else "text"}
    return {**form.model_dump(by_alias=True), "strict": form.strict or False}


def _choice(request: ResponsesRequest) -> str | dict[str, Any]:
    choice = request.tool_choice or "auto"
    return choice if isinstance(choice, str) else choice.model_dump()


def _message(name: str, content: Content, status: str | None) -> dict[str, Any]:
    return {
        "type": "message",
        "id": name,
        "status": status or "completed",
        "role": "assistant",
        "content": [_output_text(content.text, content.logprobs)],
    }


def _output_text(text: str, logprobs: list[TokenLogprob]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
