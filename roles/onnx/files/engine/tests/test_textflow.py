"""From tokens to the text that a client may see."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import pytest

from phi4_engine.textflow import StopStrings, TextFlow, Vocabulary

VOCABULARY = Vocabulary(
    stop=frozenset({300}), special=frozenset({300, 301, 302, 303}), size=304, tool_open=301, tool_close=302
)


def run(pieces: Sequence[str], stops: Sequence[str]) -> tuple[list[str], bool]:
    stop_strings = StopStrings(stops)
    sent = [stop_strings.push(piece) for piece in pieces]
    return [*sent, stop_strings.flush()], stop_strings.matched


@pytest.mark.parametrize(
    ("text", "stops", "wanted", "matched"),
    [
        ("hello world", ["wor"], "hello ", True),
        ("hello world", ["xyz"], "hello world", False),
        ("aab", ["ab"], "a", True),
        ("one\n\ntwo", ["\n\n"], "one", True),
        ("STO", ["STOP"], "STO", False),
        ("abcabd", ["abd"], "abc", True),
        ("first second", ["second", "first"], "", True),
        ("x", [], "x", False),
        ("né né", ["é "], "n", True),
    ],
)
def test_a_stop_string_is_found_however_the_text_is_cut(
    text: str, stops: list[str], wanted: str, matched: bool
) -> None:
    for size in range(1, len(text) + 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        sent, hit = run(pieces, stops)
        assert ("".join(sent), hit) == (wanted, matched), f"in pieces of {size}"


def test_text_that_cannot_become_a_stop_string_is_not_held_back() -> None:
    sent, _ = run(["abc", "S", "x", "ST", "O"], ["STOP"])
    assert sent == ["abc", "", "Sx", "", "", "STO"]


def flow(stops: Sequence[str] = ()) -> TextFlow:
    decoder = codecs.getincrementaldecoder("utf-8")()
    return TextFlow(VOCABULARY, lambda token: decoder.decode(bytes([token])), stops)


def test_a_character_is_sent_when_it_is_whole() -> None:
    answer = flow()
    assert [answer.push(byte) for byte in "a😀".encode()] == ["a", "", "", "", "😀"]


def test_special_tokens_never_become_text() -> None:
    answer = flow()
    assert "".join(answer.push(token) for token in [303, *b"hi", 303]) == "hi"


def test_a_tool_call_is_kept_apart_from_the_text() -> None:
    answer = flow(["x"])
    tokens = [*b"a ", 301, *b'[{"x":1}]', 302, *b"b"]
    assert "".join(answer.push(token) for token in tokens) + answer.flush() == "a b"
    assert answer.tool_text == '[{"x":1}]'
    assert not answer.stopped, "a stop string inside a tool call is not the caller's text"


def test_several_tool_calls_are_a_line_each() -> None:
    answer = flow()
    for token in [301, *b'{"a":1}', 302, *b" and ", 301, *b"7", 302]:
        answer.push(token)
    assert answer.tool_text == '{"a":1}\n7'


def test_no_tool_call_is_none() -> None:
    answer = flow()
    answer.push(65)
    assert answer.tool_text is None
