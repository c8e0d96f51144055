"""Finds the tool calls in what Phi-4-mini writes. Knows nothing of vLLM.

Two forms: `<|tool_call|>[{"name": …, "arguments": …}]<|/tool_call|>`, for which the model was trained, and
`functools[{…}]`, which other templates ask for. Text that only looks like a call stays text, and nothing is lost: the
pieces that come out do not depend on how the text was cut into pieces on its way in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

NATIVE = "<|tool_call|>"
NATIVE_END = "<|/tool_call|>"
FUNCTOOLS = "functools["
OPENERS = (NATIVE, FUNCTOOLS)
# Arguments nested deeper than this are no call that anybody meant.
MOST_DEPTH = 64
_PAIRS = {"]": "[", "}": "{"}
_SPACE = " \t\r\n"
_BARE = frozenset("0123456789+-.eEtrufalsn,:" + _SPACE)


@dataclass(frozen=True)
class Call:
    """One call; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass
class Scan:
    """Reads JSON character by character up to the end of its first array or object.

    `end` is the length of that value once it is closed; `broken` once it can be none.
    """

    depth: list[str] = field(default_factory=list)
    at: int = 0
    end: int = 0
    broken: bool = False
    _string: bool = False
    _escaped: bool = False

    def read(self, text: str) -> None:
        """Go on with `text`, which begins with all that was read before."""
        while self.at < len(text) and not self.end and not self.broken:
            self._character(text[self.at])
            self.at += 1
            if not self.depth and not self.broken and text[self.at - 1] not in _SPACE:
                self.end = self.at

    def _character(self, one: str) -> None:
        if self._string:
            self._string = self._escaped or one != '"'
            self._escaped = not self._escaped and one == "\\"
        elif one in "[{":
            self.depth.append(one)
            self.broken = len(self.depth) > MOST_DEPTH
        elif one in _PAIRS:
            self.broken = not self.depth or self.depth.pop() != _PAIRS[one]
        elif not self.depth:
            self.broken = one not in _SPACE
        elif one == '"':
            self._string = True
        else:
            self.broken = one not in _BARE


class ToolCalls:
    """One answer. `push` and `finish` return texts and calls in the order in which the model wrote them."""

    def __init__(self) -> None:
        self._held = ""
        self._opener = ""
        self._scan = Scan()
        self._closing = False

    def push(self, text: str) -> list[str | Call]:
        """Return all that is certain now; the rest is held until more comes."""
        self._held += text
        return self._settle(last=False)

    def finish(self) -> list[str | Call]:
        """Return what is left when nothing more comes."""
        return self._settle(last=True)

    def _settle(self, *, last: bool) -> list[str | Call]:
        out: list[str | Call] = []
        while True:
            before = (len(self._held), self._opener, self._closing)
            if self._closing:
                self._skip_end(last=last)
            elif self._opener:
                self._read_call(out, last=last)
            else:
                self._read_text(out, last=last)
            if before == (len(self._held), self._opener, self._closing):
                return out

    def _read_text(self, out: list[str | Call], *, last: bool) -> None:
        found = [(at, opener) for opener in OPENERS if (at := self._held.find(opener)) >= 0]
        if found:
            at, self._opener = min(found)
            # The bracket of `functools[` is the first of the array.
            begin = at + len(self._opener) - (self._opener == FUNCTOOLS)
            self._scan = Scan()
        else:
            at = begin = len(self._held) - (0 if last else _possible_opener(self._held))
        if at:
            out.append(self._held[:at])
        self._held = self._held[begin:]

    def _read_call(self, out: list[str | Call], *, last: bool) -> None:
        self._scan.read(self._held)
        if not (self._scan.end or self._scan.broken or last):
            return
        calls = read_calls(self._held[: self._scan.end]) if self._scan.end else []
        opener, self._opener = self._opener, ""
        if calls:
            out.extend(calls)
            self._held = self._held[self._scan.end :]
            self._closing = opener == NATIVE
        else:
            # The opener was text; what follows it may hold a call all the same.
            out.append(opener)
            if opener == FUNCTOOLS:
                self._held = self._held[1:]

    def _skip_end(self, *, last: bool) -> None:
        """Drop the closing token, and the space before it; without one what follows is text."""
        rest = self._held.lstrip(_SPACE)
        if rest.startswith(NATIVE_END):
            self._held, self._closing = rest.removeprefix(NATIVE_END), False
        elif last or not NATIVE_END.startswith(rest):
            self._closing = False


def read_calls(text: str) -> list[Call]:
    """Return the calls in one JSON value, an array of them or a single one; [] unless every one of them is a call."""
    try:
        written = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return []
    items = written if isinstance(written, list) else [written]
    calls = [_call(item) for item in items]
    return [call for call in calls if call] if all(calls) else []


def parse(text: str) -> tuple[str, list[Call]]:
    """Return the text around the calls of a whole answer, and the calls."""
    flow = ToolCalls()
    return split(flow.push(text) + flow.finish())


def split(pieces: list[str | Call]) -> tuple[str, list[Call]]:
    """Return the texts of `pieces` as one, and their calls."""
    return "".join(piece for piece in pieces if isinstance(piece, str)), [
        piece for piece in pieces if isinstance(piece, Call)
    ]


def _call(item: object) -> Call | None:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        return None
    arguments = item.get("arguments", item.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return None
    return Call(item["name"], json.dumps(arguments, ensure_ascii=False))


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _possible_opener(text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of an opener."""
    return max(
        length for opener in OPENERS for length in range(len(opener)) if length == 0 or text.endswith(opener[:length])
    )
