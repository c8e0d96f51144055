"""For which names a gateway's certificate is, and when another one is due."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.gateway.certificate import DAY_SECONDS, DAYS, Wanted, due, names, usable
from phi4_edge.errors import InventoryError

NOW = 1_800_000_000
ISSUER, OTHER = "a" * 64, "b" * 64
WANTED = Wanted(ISSUER, ("gw1.example", "192.0.2.7"))
HELD = {
    "issuer": ISSUER, "names": ["192.0.2.7", "gw1.example"], "not_after": NOW + DAYS * DAY_SECONDS, "digest": OTHER
}  # fmt: skip


@pytest.mark.parametrize(
    ("host", "address", "bind", "more", "found"),
    [
        ("gw1", "192.0.2.7", "0.0.0.0", (), ("gw1", "192.0.2.7")),
        ("gw1", "", "192.0.2.7", (), ("gw1", "192.0.2.7")),
        ("gw_1", "192.0.2.7", "", (), ("192.0.2.7",)),
        ("gw_1", "gw_1", "::", ("llm.example",), ("llm.example",)),
        ("GW1", "gw1.", "2001:DB8::7", ("gw1", "2001:db8:0::7"), ("gw1", "2001:db8::7")),
        ("bücher", "xn--bcher-kva", "127.0.0.1", (), ("xn--bcher-kva", "127.0.0.1")),
    ],
)
def test_a_certificate_is_for_every_name_that_it_can_have(
    host: str, address: str, bind: str, more: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert names(host, address, bind, more) == found


@pytest.mark.parametrize(("host", "address"), [("gw_1", ""), ("gw_1", "gw_1.example"), ("x" * 300, "é")])
def test_without_a_name_it_is_said_where_one_is_given(host: str, address: str) -> None:
    with pytest.raises(InventoryError, match=rf"found no name .*{host[:80]}.*needed.*phi4_gateway_names"):
        names(host, address, "0.0.0.0")
    with pytest.raises(InventoryError, match=r"\(nothing\)"):
        usable([])


def test_what_is_good_is_not_due_in_its_first_two_thirds() -> None:
    assert due(HELD, WANTED, NOW) == ""
    assert due(HELD, WANTED, NOW + 60 * DAY_SECONDS - 1) == ""
    assert due(HELD, WANTED, NOW + 60 * DAY_SECONDS) == "its certificate expires in 30 days"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"issuer": OTHER}, "the fleet's CA is another"),
        ({"issuer": ""}, "the fleet's CA is another"),
        ({"names": ["gw1.example"]}, "its names are now gw1.example, 192.0.2.7"),
        ({"names": []}, "its names are now"),
        ({"not_after": NOW}, "has expired"),
        ({"not_after": 0}, "has expired"),
        ({"not_after": NOW + 3 * DAY_SECONDS}, "expires in 3 days"),
        ({"not_after": NOW + 92 * DAY_SECONDS}, "a clock that was ahead"),
        ({"not_after": 2**200}, "a clock that was ahead"),
        ({"not_after": True}, "damaged"),
        ({"not_after": "tomorrow"}, "damaged"),
        ({"names": None}, "damaged"),
        ({"names": [[]]}, "damaged"),
        ({"names": "gw1.example"}, "damaged"),
    ],
)
def test_what_is_due_says_why(changed: dict[str, Any], why: str) -> None:
    assert why in due({**HELD, **changed}, WANTED, NOW)


def test_what_is_not_there_is_due() -> None:
    assert due({}, WANTED, NOW) == "it has no certificate"
    assert due({"digest": ""}, Wanted(digest=OTHER), NOW)


def test_an_operators_own_is_the_same_or_another() -> None:
    assert due(HELD, Wanted(digest=OTHER), NOW + 90 * DAY_SECONDS) == ""
    assert "operator's certificate is another" in due(HELD, Wanted(digest=ISSUER), NOW)
    # The fleet's CA takes over again.
    assert due({**HELD, "issuer": ""}, WANTED, NOW)
