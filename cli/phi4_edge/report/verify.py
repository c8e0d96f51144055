"""What each host answered, as one table: tokens, seconds, speed, tool calls. Takes the verify document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phi4_edge.core.text import printable
from phi4_edge.report.text import count, table, wrap

HEAD = ("HOST", "ENGINE", "PROMPT", "ANSWERED", "TOKENS", "SECONDS", "FIRST", "TOK/S", "TOOL CALL", "FINISH")
_NUMBERS = ("TOKENS", "SECONDS", "FIRST", "TOK/S")
# What gives way on a narrow terminal: the engine is in `status`, and a stream's first token is in the JSON.
_WIDE = ("ENGINE", "FIRST", "FINISH")
NARROW = 100

Document = Mapping[str, Any]


def overview(document: Document, width: int, answers: bool = False) -> list[str]:
    """The table, each failure in full, texts where `answers` asks for them, and one sentence that counts it all."""
    head = [name for name in HEAD if width >= NARROW or name not in _WIDE]
    rows = [[row[name] for name in head] for row in _rows(document["hosts"])]
    right = [head.index(name) for name in _NUMBERS if name in head]
    lines = table(head, rows, width, right=right) if rows else []
    for host in document["hosts"]:
        lines += _failures(host, width)
    if answers:
        lines += _texts(document["hosts"], width)
    return [*lines, *([""] if lines else []), *wrap(headline(document), width, rest="")]


def headline(document: Document) -> str:
    """One sentence with every count."""
    counts = document["counts"]
    said = f"{count(counts['hosts'], 'host')}: {counts['answered']} of {counts['asked']} answered"
    if counts["tool_calls"]:
        said += f", {counts['well_formed']} of {counts['tool_calls']} tool calls well formed"
    return said + _counted_by_us(document["hosts"])


def _counted_by_us(hosts: Sequence[Document]) -> str:
    marked = any(answer["tokens_from"] == "events" for host in hosts for answer in host["answers"])
    return "; ~ counted from the stream, the engine gave no usage" if marked else ""


def _rows(hosts: Sequence[Document]) -> Iterator[dict[str, str]]:
    for host in hosts:
        for answer in host["answers"]:
            yield {
                "HOST": host["host"],
                "ENGINE": f"{host['engine']} {host['quantization']}".strip(),
                "PROMPT": _prompt(answer),
                "ANSWERED": "yes" if answer["answered"] else "NO",
                "TOKENS": _tokens(answer),
                "SECONDS": _number(answer["seconds"]),
                "FIRST": _number(answer["first_token_seconds"]),
                "TOK/S": _number(answer["tokens_per_second"]),
                "TOOL CALL": answer["tool_call"]["state"] if answer["tool_call"] else "-",
                "FINISH": answer["finish_reason"] or "-",
            }


def _prompt(answer: Document) -> str:
    """The prompt's name; the second form of a prompt with tools says that it came in one piece."""
    return answer["prompt"] if answer["streamed"] else f"{answer['prompt']} (plain)"


def _tokens(answer: Document) -> str:
    """Tokens that were made; a wave marks those that nobody but us has counted."""
    made = answer["completion_tokens"]
    return "-" if made is None else f"~{made}" if answer["tokens_from"] == "events" else str(made)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _failures(host: Document, width: int) -> list[str]:
    """Why a prompt got no answer and what is wrong with a tool call, equal reasons once; or why the host failed."""
    reasons: dict[str, list[str]] = {}
    for answer in host["answers"]:
        call = answer["tool_call"] or {}
        reason = answer["error"] or (f"tool call {call['state']}: {call['detail']}" if call.get("detail") else "")
        if reason:
            reasons.setdefault(reason, []).append(_prompt(answer))
    lines: list[str] = []
    for reason, prompts in reasons.items():
        lines += wrap(f"{host['host']}: {', '.join(prompts)}: {reason}", width, rest="    ")
    if not (lines or host["passed"]):
        lines = wrap(f"{host['host']}: {host['reason']}", width, rest="    ")
    if lines and host["next_step"]:
        lines += wrap(host["next_step"], width, first="    next: ", rest="          ")
    return ["", *lines] if lines else []


def _texts(hosts: Sequence[Document], width: int) -> list[str]:
    lines: list[str] = []
    for host in hosts:
        for answer in host["answers"]:
            if not answer["answered"]:
                continue
            lines += ["", *wrap(f"{host['host']}: {_prompt(answer)}", width)]
            call = answer["tool_call"]
            if call and call["name"]:
                lines += wrap(f"{call['name']}({call['arguments']})", width, first="    ")
            for line in printable(answer["text"]).splitlines():
                lines += wrap(line, width, first="    ")
    return lines


def markdown(document: Document, answers: bool = False) -> list[str]:
    """The same as a table for a page; what hosts sent cannot become markup."""
    lines = ["| " + " | ".join(name.capitalize() for name in HEAD) + " |"]
    lines.append("|" + "|".join("---:" if name in _NUMBERS else "---" for name in HEAD) + "|")
    for row in _rows(document["hosts"]):
        lines.append("| " + " | ".join(_cell(row[name]) for name in HEAD) + " |")
    reasons = [line for host in document["hosts"] for line in _failures(host, 10_000)]
    lines += [f"- {_cell(line)}" if line else "" for line in reasons]
    if answers:
        lines += [f"    {line}" if line else "" for line in _texts(document["hosts"], 10_000)]
    return [*lines, "", _cell(headline(document))]


def _cell(text: str) -> str:
    """One line in which no sign of Markdown or HTML has its meaning."""
    line = printable(text, lines=False).strip()
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in line)
