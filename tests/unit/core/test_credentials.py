"""What a host says of its gateway's keys and certificate is data: bounded, and nothing but what it must be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phi4_edge.core.credentials import FORMAT, NONE, Found, moment, read

NOTE = {
    "format": FORMAT,
    "pem": "b" * 64,
    "issuer": "c" * 64,
    "digest": "d" * 64,
    "names": ["gw1"],
    "not_after": 1_800_000_000,
}


def said(note: Any = None, **changes: Any) -> str:
    text = json.dumps(NOTE if note is None else note)
    return json.dumps({"keys": "a" * 64, "certificate": "b" * 64, "note": text, **changes})


def test_what_a_host_has_is_read_as_it_is() -> None:
    found = read(said())
    assert found is not None
    assert (found.keys, found.pem, found.not_after) == ("a" * 64, "b" * 64, 1_800_000_000)
    assert found.client_ca == "", "a look that was kept from before there was one"
    there = read(said(client_ca="e" * 64))
    assert there is not None and there.client_ca == "e" * 64
    assert found.note == {name: value for name, value in NOTE.items() if name != "format"} | {"names": ("gw1",)}


def test_a_host_without_files_has_nothing() -> None:
    assert read(said(note="", keys="", certificate="")) == NONE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{}",
        "{",
        "[" * 100_000,
        said(keys=None),
        said(keys="a" * 63),
        said(certificate="B" * 64),
        said(keys=7),
        said(client_ca=7),
        said(client_ca="e" * 65),
    ],
    ids=lambda text: text[:12],
)
def test_what_cannot_be_is_nothing(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("key", "value", "then"),
    [
        ("not_after", True, 0), ("not_after", -1, 0), ("not_after", 1 << 60, 0), ("not_after", "soon", 0),
        ("not_after", 1.5, 0),
        ("names", "gw1", ()), ("names", ["x"] * 1000, ("x",) * 64), ("names", [{"a": 1}], ("",)),
        ("issuer", "\x1b[2J" + "x" * 500, None),
    ],
)  # fmt: skip
def test_a_note_is_bounded(key: str, value: Any, then: Any) -> None:
    found = read(said(note={**NOTE, key: value}))
    assert found is not None
    if then is None:
        assert len(found.note[key]) <= 64 and "\x1b" not in found.note[key]
    else:
        assert found.note[key] == then


@pytest.mark.parametrize("note", [[], "x", 7, {"format": "other/1"}, {**NOTE, "format": None}])
def test_a_note_of_others_is_none(note: Any) -> None:
    assert read(said(note=note)) == Found("a" * 64, "b" * 64)


def test_moments_have_four_digits_of_a_year() -> None:
    assert moment(1_800_000_000) == "2027-01-15T08:00:00Z"
    assert moment(0) == moment(1 << 60) == moment(-5) == ""
