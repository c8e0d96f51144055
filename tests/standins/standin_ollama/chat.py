"""`/api/generate` and `/api/chat`: requests checked, answers made piece by piece (server/routes.go)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import models, names, prompts, settings, words
from .create import RefusedError
from .models import Model
from .scheduler import Runner, Scheduler

Json = dict[str, Any]
GENERATE = {
    "model": str, "prompt": str, "suffix": str, "system": str, "template": str, "context": list, "stream": bool,
    "raw": bool, "images": list, "options": dict, "keep_alive": (int, float, str), "think": (bool, str), "shift": bool,
}  # fmt: skip
CHAT = {
    "model": str, "messages": list, "stream": bool, "tools": list, "options": dict, "keep_alive": (int, float, str),
    "think": (bool, str), "shift": bool,
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
    options = options_of(model, request)
    with scheduler.run(model, options, stays) as runner:
        if not prompt:
            yield {**head(request), "response": "", "done": True, "done_reason": "load"}
            return
        system = request.get("system") or model.system
        for piece in say(
            runner, model, f"{system} {prompt}", options, *prompts.script([{"content": prompt}], [], None)
        ):
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
    options = options_of(model, request)
    with scheduler.run(model, options, stays) as runner:
        if not messages:
            yield {**head(request), "message": said(""), "done": True, "done_reason": "load"}
            return
        yield from answered(runner, model, request, options)


def answered(runner: Runner, model: Model, request: Json, options: Json) -> Iterator[Json]:
    """Words; with tools the whole answer is read for calls of them first."""
    messages, tools = request["messages"], request.get("tools") or []
    prompt = prompts.rendered(model.system, messages, tools)
    if request.get("_debug_render_only"):
        yield {**head(request), "message": said(""), "done": True, "_debug_info": {"rendered_template": prompt}}
        return
    call = words.tool_call(tools, messages[-1].get("content", "")) if tools else None
    pieces = say(runner, model, prompt, options, *prompts.script(messages, tools, call))
    if not tools:
        for piece in pieces:
            yield {**head(request), "message": said(piece["text"]), "done": piece["done"], **metrics(piece)}
        return
    found = list(pieces)
    text, calls = prompts.parsed("".join(piece["text"] for piece in found), tools)
    if text:
        yield {**head(request), "message": said(text), "done": False}
    if calls:
        yield {**head(request), "message": {**said(""), "tool_calls": calls}, "done": False}
    yield {**head(request), "message": said(""), "done": True, **metrics(found[-1])}


def options_of(model: Model, request: Json) -> Json:
    """The options in force; `shift` stands beside them in a request."""
    options = models.merged(model, request.get("options"))
    return {**options, **({"shift": request["shift"]} if isinstance(request.get("shift"), bool) else {})}


def say(runner: Runner, model: Model, prompt: str, options: Json, text: str | None, endless: bool) -> Iterator[Json]:
    """Pieces of an answer, the last one `done` with the counts."""
    began = time.monotonic_ns()
    # A variant answers in words of its own: its manifest is part of the seed.
    asked = {"prompt": prompt, "seed": words.seed(model.digest, prompt), "text": text, "endless": endless}
    limits = {name: options[name] for name in ("num_predict", "num_keep", "shift") if name in options}
    for piece in runner.complete({**asked, **limits, "stop": list(options.get("stop", []))}):
        if not piece["done"]:
            yield piece
            continue
        spent = time.monotonic_ns() - began
        yield {
            "text": "", "done": True, "done_reason": piece["reason"], "total_duration": spent, "load_duration": 1,
            "prompt_eval_count": piece["prompted"], "prompt_eval_duration": 1, "eval_count": piece["said"],
            "eval_duration": max(1, spent),
        }  # fmt: skip


def said(text: str) -> Json:
    return {"role": "assistant", "content": text}


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
