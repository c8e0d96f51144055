"""Origins of web pages, as the inventory and the engine take them: the same ones; and names of servers."""

from __future__ import annotations

import pytest

from phi4_edge.core.names import MOST_ALLOWED, origins, server_name, server_names


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gw1", "gw1"),
        (" GW1.Example. ", "gw1.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 61] * 4 + ["abcde"]), ".".join(["a" * 61] * 4 + ["abcde"])),
    ],
)
def test_a_server_is_named_in_one_way(text: str, found: str) -> None:
    assert server_name(text) == found
    assert server_name(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "gw_1", "gw 1", "-gw1", "gw1-", "gw1..example", "*.example", "bücher.example", "\u212aelvin", "gw\n1",
        "a" * 64, ".".join(["a" * 61] * 4 + ["abcdef"]), "127.1", "10.0.0.0/8", "1.2.3.4.5", "gw.0x7f", "gw1:8443",
        "fe80::1%eth0", "0.0.0.0", "::", "::ffff:0.0.0.0", "[gw1]", "https://gw1", "x" * 100_000, "gw\0",
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_no_certificate_can_have_is_no_name(text: str) -> None:
    assert server_name(text) == ""


def test_a_list_of_names_of_servers_is_held_to_each() -> None:
    assert server_names("GW1.example, 192.0.2.7,gw1.example.") == ("gw1.example", "192.0.2.7")
    assert server_names(["none"]) == ()
    for wrong in ("gw_1,gw1", ["gw1", 7], [f"gw{n}" for n in range(MOST_ALLOWED + 1)], 7):
        with pytest.raises(ValueError, match=r"DNS names and addresses, such as gw1\.example"):
            server_names(wrong)
