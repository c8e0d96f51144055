"""What an answer is worth: tokens, speed, and whether a tool call is one. The same for every engine. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from phi4_edge.core.text import clean
from phi4_edge.inference import arguments
from phi4_edge.inference.completion import Call, Completion
from phi4_edge.inference.prompts import Prompt, Tool
from phi4_edge.rollout.result import HostResult, Outcome, exit_code

MOST_TEXT = 8000  # characters of an answer that the document keeps
WELL_FORMED, MALFORMED, IN_TEXT, NONE = "well formed", "malformed", "in the text", "none"
# How models write a call when nothing turns it into one: Phi-4, Phi-4's functools, Hermes and Mistral.
_MARKS = ("<|tool_call|>", "functools[", "<tool_call>", "[TOOL_CALLS]")


@dataclass(frozen=True)
class ToolCall:
    """What became of the tools that were offered. `state` is one of the four words above."""

    state: str
    detail: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Answer:
    """One prompt, asked once. Times in seconds; `tokens_from` says who counted: `usage` or `events`."""

    prompt: str
    category: str
    streamed: bool
    answered: bool
    error: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_from: str | None = None
    seconds: float | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    finish_reason: str = ""
    tool_call: ToolCall | None = None
    text: str = ""


@dataclass(frozen=True)
class Verdict:
    """All answers of one host."""

    host: str
    engine: str
    quantization: str
    model: str
    address: str
    release: str
    answers: tuple[Answer, ...] = field(default=())

    def result(self, require_tools: bool) -> HostResult:
        """What the host came to: failed when it left a prompt without an answer, or where tools are required."""
        silent = [answer for answer in self.answers if not answer.answered]
        if silent:
            reason = f"{len(silent)} of {len(self.answers)} prompts were not answered: {silent[0].error}"
            return HostResult(
                self.host, Outcome.FAILED, reason, "see phi4-edge status, and journalctl -u phi4-edge there"
            )
        wrong = [call for answer in self.answers if (call := answer.tool_call) and call.state != WELL_FORMED]
        if require_tools and wrong:
            said = f"{wrong[0].state}{': ' if wrong[0].detail else ''}{wrong[0].detail}"
            number = "1 tool call is" if len(wrong) == 1 else f"{len(wrong)} tool calls are"
            reason = f"{number} not well formed: {said}"
            return HostResult(self.host, Outcome.FAILED, reason, "see phi4-edge verify INVENTORY --answers")
        return HostResult(self.host, Outcome.UNCHANGED)

    def to_dict(self, require_tools: bool) -> dict[str, Any]:
        """The host's entry of a verify document."""
        result = self.result(require_tools)
        return {
            **asdict(self),
            "passed": result.outcome is Outcome.UNCHANGED,
            "reason": result.reason or None,
            "next_step": result.next_step or None,
            "answers": [asdict(answer) for answer in self.answers],
        }


def unanswered(prompt: Prompt, streamed: bool, error: str, seconds: float | None = None) -> Answer:
    """The prompt got no answer, and why."""
    return Answer(prompt.name, prompt.category, streamed, False, clean(error, 400), seconds=_rounded(seconds))


def answer(prompt: Prompt, streamed: bool, said: Completion, seconds: float, first: float | None) -> Answer:
    """The measured answer. `first` is when the first piece came, None where it was not streamed."""
    error = said.error or ("" if said.complete else "the answer ended in the middle")
    if not error and said.empty:
        error = "an empty answer: not one token"
    by_usage = said.completion_tokens is not None
    tokens = said.completion_tokens if by_usage else (said.pieces or None) if streamed else None
    return Answer(
        prompt=prompt.name,
        category=prompt.category,
        streamed=streamed,
        answered=not error,
        error=error,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=tokens,
        tokens_from=None if tokens is None else "usage" if by_usage else "events",
        seconds=_rounded(seconds),
        first_token_seconds=_rounded(first),
        tokens_per_second=_rounded(tokens / seconds, 2) if tokens and seconds > 0 else None,
        finish_reason=said.finish_reason,
        tool_call=judge(prompt.tools, said) if prompt.tools and not error else None,
        text=said.text[:MOST_TEXT],
    )


def judge(tools: Sequence[Tool], said: Completion) -> ToolCall:
    """Whether the model called a tool that it was given, with arguments that the tool takes."""
    calls = [said.calls[index] for index in sorted(said.calls)]
    if not calls:
        marked = any(mark in said.text for mark in _MARKS) or _is_call(said.text, tools)
        return (
            ToolCall(IN_TEXT, "the call stands in the answer's text, no client will see it")
            if marked
            else ToolCall(NONE)
        )
    known = {tool.name: tool for tool in tools}
    for call in calls:
        if found := _problem(call, known):
            return _shown(MALFORMED, call, found)
    return _shown(WELL_FORMED, calls[0])


def _shown(state: str, call: Call, detail: str = "") -> ToolCall:
    text = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return ToolCall(state, clean(detail, 300), clean(call.name, 80), clean(text, 400))


def _problem(call: Call, known: dict[str, Tool]) -> str:
    if call.name not in known:
        return f"the name is {call.name!r}, needed {' or '.join(known)}"
    if not isinstance(call.arguments, str):
        return f"the arguments are a JSON {type(call.arguments).__name__}, needed text that holds JSON"
    try:
        found = json.loads(call.arguments, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "the arguments are not JSON"
    return arguments.problem(found, known[call.name].parameters)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _is_call(text: str, tools: Sequence[Tool]) -> bool:
    """Whether the whole text is the JSON of a call, or a list of calls."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    items = found if isinstance(found, list) else [found]
    names = [item.get("name") for item in items if isinstance(item, dict)]
    return any(tool.name in names for tool in tools)


def document(
    verdicts: Sequence[Verdict], problems: Sequence[HostResult], prompts: Sequence[Prompt], require_tools: bool
) -> dict[str, Any]:
    """The document `phi4-edge/verify/1` (schema: data/verify.schema.json)."""
    answers = [answer for verdict in verdicts for answer in verdict.answers]
    calls = [answer.tool_call for answer in answers if answer.tool_call]
    return {
        "format": "phi4-edge/verify/1",
        "exit_code": code(verdicts, problems, require_tools),
        "prompts": [prompt.name for prompt in prompts],
        "counts": {
            "hosts": len(verdicts) + len(problems),
            "asked": len(answers),
            "answered": sum(answer.answered for answer in answers),
            "tool_calls": len(calls),
            "well_formed": sum(call.state == WELL_FORMED for call in calls),
        },
        "hosts": [verdict.to_dict(require_tools) for verdict in verdicts],
        "problems": [result.to_dict() for result in problems],
    }


def code(verdicts: Iterable[Verdict], problems: Iterable[HostResult], require_tools: bool) -> int:
    """4 when a host left a prompt unanswered, else 5 when one was unreachable, 3 when one serves nothing, else 0."""
    return exit_code([*(verdict.result(require_tools) for verdict in verdicts), *problems])


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
