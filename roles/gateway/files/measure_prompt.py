"""The prompt that Ollama makes of a request to its /v1, with our chat template; None for what cannot be told.

Python 3.8, standard library. From Ollama 0.35.0: openai/openai.go and openai/responses.go translate requests,
template/template.go joins messages, and our chat.gotmpl renders them. What Ollama would refuse is none of ours to tell.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from measure_tools import arguments, function, named, responses_tools

Json = Dict[str, Any]
# Of roles/ollama/templates/chat.gotmpl, which `rendered` does in Python: a model with another one is not measured.
TEMPLATE = "sha256:d630daabcd6536bd6b22ec0716b3a4f527034cdb5a331136e9de9371a02d6306"
_WITH_TOOLS = "You are a helpful assistant with some tools."


class Prompt(NamedTuple):
    """A prompt. `about`: characters of it that Ollama may write a little otherwise, which are those of tools.

    `field`: of the request, which the prompt comes from.
    """

    text: str
    about: int
    field: str


class UntoldError(Exception):
    """What Ollama makes of the request is not known, or it refuses it."""


class Message(NamedTuple):
    """A message as Ollama has it inside; `calls`: of tools, as the template shows them."""

    role: str
    content: str
    calls: str = ""


def prompt_of(path: str, document: Any, system: str) -> Optional[Prompt]:
    """The prompt of a request for a model whose own system text is `system`."""
    read = _READERS.get(path.rstrip("/"))
    if read is None or not isinstance(document, dict):
        return None
    try:
        return read(document, system)
    except (UntoldError, RecursionError):
        return None


def _chat(document: Json, system: str) -> Prompt:
    messages = [made for one in _objects(document.get("messages")) for made in _messages(one)]
    if not messages:
        raise UntoldError
    tools = [function(_object(one.get("function"))) for one in _objects(document.get("tools") or [])]
    if system and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    return rendered(messages, tools, "messages")


def _messages(one: Json) -> List[Message]:
    role, content, calls = _text(one.get("role")), one.get("content"), one.get("tool_calls")
    shown = _calls(_objects(calls)) if calls is not None else ""
    if isinstance(content, str):
        return [Message(role, content, shown)]
    if content is None and calls is not None:
        return [Message(role, "", shown)]
    # Each part becomes a message of its own; calls belong to the last one.
    found = [Message(role, _part(part, ("text",))) for part in _objects(content)]
    if shown and found:
        found[-1] = found[-1]._replace(calls=shown)
    return found


def _completion(document: Json, system: str) -> Prompt:
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or not prompt or document.get("suffix"):
        raise UntoldError
    before = [Message("system", system)] if system else []
    return rendered([*before, Message("user", prompt)], [], "prompt")


def _responses(document: Json, system: str) -> Prompt:
    given, messages = document.get("input"), []  # type: Any, List[Message]
    if instructions := document.get("instructions"):
        messages.append(Message("system", _text(instructions)))
    if isinstance(given, str):
        messages += [Message("user", given)] if given else []
    else:
        for item in _objects(given):
            _item(item, messages)
    if not messages:
        raise UntoldError
    tools = responses_tools(document.get("tools") or [])
    if tools is None:
        raise UntoldError
    if system and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    return rendered(messages, tools, "input")


def _item(item: Json, messages: List[Message]) -> None:
    kind = item.get("type") or ("message" if item.get("role") else "")
    if kind == "message":
        messages.append(Message(_text(item.get("role")), _content(item.get("content"))))
    elif kind == "function_call":
        shown = _calls([{"function": item}])
        if messages and messages[-1].role == "assistant":
            messages[-1] = messages[-1]._replace(calls=_joined(messages[-1].calls, shown))
        else:
            messages.append(Message("assistant", "", shown))
    elif kind == "function_call_output":
        messages.append(Message("tool", _content(item.get("output"))))
    elif kind != "web_search_call":
        raise UntoldError


def _content(given: Any) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    return "".join(_part(part, ("input_text", "output_text")) for part in _objects(given))


def _part(part: Json, kinds: Any) -> str:
    if part.get("type") not in kinds:
        raise UntoldError
    return _text(part.get("text"))


def _calls(calls: List[Json]) -> str:
    shown = []
    for call in calls:
        one = _object(call.get("function"))
        said = arguments(one.get("arguments"))
        if said is None:
            raise UntoldError
        shown.append('{"name": %s, "arguments": %s}' % (named(_text(one.get("name"))), said))
    return ",".join(shown)


def _joined(one: str, other: str) -> str:
    return ",".join(filter(None, (one, other)))


def _object(given: Any) -> Json:
    if not isinstance(given, dict):
        raise UntoldError
    return given


def _objects(given: Any) -> List[Json]:
    if not isinstance(given, list):
        raise UntoldError
    return [_object(one) for one in given]


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise UntoldError
    return given


def rendered(given: List[Message], tools: List[str], field: str) -> Prompt:
    """What our template makes of messages. System messages come first, those of one role that follow are joined."""
    system = "\n\n".join(one.content for one in given if one.role == "system")
    messages: List[Message] = []
    for one in given:
        if messages and messages[-1].role == one.role != "tool":
            messages[-1] = messages[-1]._replace(content=messages[-1].content + "\n\n" + one.content)
        else:
            messages.append(one)
    announced = "<|tool|>[%s]<|/tool|>" % ",".join(tools) if tools else ""
    parts = ["<|system|>%s%s<|end|>" % (system or _WITH_TOOLS, announced)] if system or tools else []
    about = len(announced)
    for number, one in enumerate(messages):
        last, calls = number == len(messages) - 1, "<|tool_call|>[%s]<|/tool_call|>" % one.calls if one.calls else ""
        if one.role == "user":
            parts.append("<|user|>%s<|end|>" % one.content)
        elif one.role == "tool":
            parts.append("<|tool_response|>%s<|end|>" % one.content)
        elif one.role == "assistant":
            about += len(calls)
            parts.append("<|assistant|>%s%s%s" % (one.content, calls, "" if last else "<|end|>"))
        if last and one.role != "assistant":
            parts.append("<|assistant|>")
    return Prompt(whole("".join(parts)), about, field)


def whole(text: str) -> str:
    """The text as Go has it: U+FFFD for half of a pair of surrogates, of which JSON may have some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def parsed(body: bytes) -> Any:
    """The document in a request's body; None for what is none."""
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


_READERS: Dict[str, Callable[[Json, str], Prompt]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/responses": _responses,
}
