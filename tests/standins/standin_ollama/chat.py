"""`/api/generate` and `/api/chat`: requests checked, answers made piece by piece (server/routes.go)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import models, names, settings, words
from .create import RefusedError
from .models import Model, Scheduler

Json = dict[str, Any]
GENERATE = {
    "model": str, "prompt": str, "suffix": str, "system": str, "template": str, "context": list, "stream": bool,
    "raw": bool, "images": list, "options": dict, "keep_alive": (int, float, str), "think": (bool, str),
}  # fmt: skip
CHAT = {
    "model": str, "messages": list, "stream": bool, "tools": list, "options": dict, "keep_alive": (int, float, str),
    "think": (bool, str),
}  # fmt: skip


def model_of(request: Json) -> Model:
    """The model that is asked for. Raises RefusedError, 400 without a name and 404 for one that is not there."""
    if not request.get("model"):
        raise RefusedError("model is required", 400)
    if not names.parse(request["model"]).valid():
        raise RefusedError(f"model '{request['model']}' not found", 404)
    return Model(request["model"])


def keep(request: Json) -> float:
    """Seconds that the model stays loaded behind this request. Raises RefusedError for what is no duration."""
    try:
        return names.seconds(request["keep_alive"]) if "keep_alive" in request else settings.keep_alive()
    except ValueError as error:
        raise RefusedError(str(error), 400) from None


def head(request: Json) -> Json:
    return {"model": request["model"], "created_at": models.stamp()}


def metrics(piece: Json) -> Json:
    return {name: value for name, value in piece.items() if name not in ("text", "done")}


def generate(scheduler: Scheduler, request: Json) -> Iterator[Json]:
    """Answers of /api/generate; an empty prompt loads the model, and unloads it where keep_alive is 0."""
    model, stays = model_of(request), keep(request)
    prompt = request.get("prompt", "")
    if not prompt and stays == 0:
        scheduler.unload(model)
        yield {**head(request), "response": "", "done": True, "done_reason": "unload"}
        return
    if request.get("think"):
        raise RefusedError(f'"{request["model"]}" does not support thinking', 400)
    options = models.merged(model, request.get("options"))
    with scheduler.run(model, options, stays):
        if not prompt:
            yield {**head(request), "response": "", "done": True, "done_reason": "load"}
            return
        system = request.get("system") or model.system
        for piece in models.say(model, f"{system} {prompt}", options):
            pause()
            answer = {**head(request), "response": piece["text"], "done": piece["done"]}
            yield {**answer, **metrics(piece), **({"context": [1, 2, 3]} if piece["done"] else {})}


def chat(scheduler: Scheduler, request: Json) -> Iterator[Json]:
    """Answers of /api/chat; with tools the first one is called, unless the last message is a tool's own result."""
    model, stays = model_of(request), keep(request)
    messages: list[Json] = request.get("messages") or []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content", ""), str):
            raise RefusedError(
                "json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message", 400
            )
    if not messages and stays == 0:
        scheduler.unload(model)
        yield {**head(request), "message": said(""), "done": True, "done_reason": "unload"}
        return
    if request.get("think"):
        raise RefusedError(f'"{request["model"]}" does not support thinking', 400)
    if request.get("tools") and "tools" not in model.capabilities():
        raise RefusedError(f"{model.name.full()} does not support tools", 400)
    options = models.merged(model, request.get("options"))
    with scheduler.run(model, options, stays):
        if not messages:
            yield {**head(request), "message": said(""), "done": True, "done_reason": "load"}
            return
        yield from answered(model, request, messages, options)


def answered(model: Model, request: Json, messages: list[Json], options: Json) -> Iterator[Json]:
    """A call of a tool, or words."""
    system = "" if messages[0].get("role") == "system" else model.system
    prompt = system + words.seed(messages)
    pieces = models.say(model, prompt, options)
    if request.get("tools") and messages[-1].get("role") != "tool":
        call = words.tool_call(request["tools"], messages[-1].get("content", ""))
        yield {**head(request), "message": {**said(""), "tool_calls": [call]}, "done": False}
        last = next(piece for piece in pieces if piece["done"])
        last["done_reason"] = "stop"
        yield {**head(request), "message": said(""), "done": True, **metrics(last)}
        return
    for piece in pieces:
        pause()
        yield {**head(request), "message": said(piece["text"]), "done": piece["done"], **metrics(piece)}


def said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def pause() -> None:
    """A moment for each token, so that a stream is a stream and two requests can meet."""
    time.sleep(0.002)


def whole(answers: Iterator[Json], key: str) -> Json:
    """What `stream: false` answers: the last piece with the text of all; an error is raised as RefusedError."""
    text = ""
    calls: list[Json] = []
    last: Json = {}
    for last in answers:
        if "error" in last:
            raise RefusedError(last["error"], last.get("status", 500))
        text += last["message"]["content"] if key == "message" else last["response"]
        calls += last["message"].get("tool_calls", []) if key == "message" else []
    if key == "response":
        return {**last, "response": text}
    return {**last, "message": {**said(text), **({"tool_calls": calls} if calls else {})}}
