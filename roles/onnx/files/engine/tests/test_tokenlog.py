"""Logprobs are told with their text, and joined they are the content."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from phi4_engine.generation import Generation
from phi4_engine.loop.sampling import Logprobs
from phi4_engine.spelling import _byte_of_letter
from phi4_engine.textflow import Vocabulary
from phi4_engine.wire import Job, TokenLogprob

END, TOOL, TOOL_END = 300, 301, 302
WORDS = {310: b"one ", 311: b" STO", 312: b"P two", 313: b"\xe6\x97", 314: b"\xa5\xe6", 315: b"\x9c\xac!"}


class Words:
    """Some tokens of several bytes, the others bytes."""

    vocabulary = Vocabulary(stop=frozenset({END}), special=frozenset({END, TOOL, TOOL_END}), size=400,
                            tool_open=TOOL, tool_close=TOOL_END)  # fmt: skip

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """Not asked for."""
        return [1, 2]

    def encode_text(self, text: str) -> Sequence[int]:
        """Not asked for."""
        return [1, 2]

    def spell(self, token: int) -> bytes:
        return WORDS.get(token) or bytes([token % 256])

    def decoder(self) -> Callable[[int], str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        return lambda token: decoder.decode(self.spell(token))


def play(tokens: Sequence[int], stop: Sequence[str] = (), limit: int | None = None) -> tuple[str, list[TokenLogprob]]:
    """The whole text, and all that was told of its tokens."""
    generation = Generation(Words(), Job("a", (), limit, stop=tuple(stop)), 2, 400)
    text, told = "", []
    for token in tokens:
        more, entries = generation.push(token, Logprobs(-0.5, ((token, -0.5), (33, -float("inf")))))
        text, told = text + more, told + entries
        assert text.startswith("".join(entry["token"] for entry in told))
        if generation.finished:
            break
    return text, told


@pytest.mark.parametrize(
    ("tokens", "stop", "limit", "texts"),
    [
        ([310, 97, END], [], None, ["one ", "a"]),
        ([313, 314, 315, END], [], None, ["", "日", "本!"]),
        ([97, *"é".encode(), END], [], None, ["a", "", "é"]),
        ([310, 311, 312], ["STOP"], None, ["one ", " "]),
        ([310, 311, END], ["STOP"], None, ["one ", " STO"]),
        ([97, 97, 98], ["ab"], None, ["a"]),
        ([97, TOOL, 98, TOOL_END, 99, END], [], None, ["a", "c"]),
        ([97, 313], [], 2, ["a"]),
        ([313, 314], [], 2, ["", "日"]),
        ([END], [], None, []),
        ([*b"STOP"], ["STOP"], None, []),
    ],
)
def test_the_texts_of_the_tokens_are_the_content(
    tokens: list[int], stop: list[str], limit: int | None, texts: list[str]
) -> None:
    text, told = play(tokens, stop, limit)
    assert [entry["token"] for entry in told] == texts
    assert "".join(texts) == text
    assert b"".join(bytes(entry["bytes"]) for entry in told).decode("utf-8", "ignore") == text


def test_an_entry_has_openais_form() -> None:
    [entry] = play([97, END])[1]
    assert entry == {
        "token": "a", "logprob": -0.5, "bytes": [97],
        "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "!", "logprob": -9999.0, "bytes": [33]},
        ],
    }  # fmt: skip


def test_every_byte_has_a_letter() -> None:
    letters = _byte_of_letter()
    assert sorted(letters.values()) == list(range(256))
    assert (letters["A"], letters["\u0120"], letters["\u010a"]) == (65, 32, 10)
