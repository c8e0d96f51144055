"""Origins of web pages, as the inventory and the engine take them: the same ones."""

from __future__ import annotations

import pytest

from phi4_edge.core.names import MOST_ALLOWED, origins


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("none", ()),
        ("", ()),
        (None, ()),
        ([], ()),
        ("https://chat.example", ("https://chat.example",)),
        (["http://192.0.2.7:81", "HTTPS://A.example"], ("http://192.0.2.7:81", "https://a.example")),
        ("http://[2001:db8::7]:81", ("http://[2001:db8::7]:81",)),
    ],
)
def test_origins_are_listed_as_browsers_send_them(value: object, found: tuple[str, ...]) -> None:
    assert origins(value) == found


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
        "chat.example",
        "ftp://chat.example",
        "https://",
        "https://chat.example/",
        "https://chat.example/x",
        "https://chat.example?x",
        "https://chat.example#x",
        "https://a@chat.example",
        "https://chat.example:",
        "https://chat.example:0",
        "https://chat.example:99999",
        "https://*.example",
        "https://a b",
        "https://a\nb",
        7,
        [7],
        {"https://a.example": 1},
        [f"https://h{number}.example" for number in range(MOST_ALLOWED + 1)],
    ],
)
def test_what_is_no_list_of_them_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a list of up to 32 origins"):
        origins(value)
