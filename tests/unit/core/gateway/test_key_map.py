"""The map of keys: digests with name, requests per minute and expiry, and nothing else."""

from __future__ import annotations

import hashlib

import pytest

from phi4_edge.core.gateway.key_map import MOST, Key, digest, key_map

TOKEN = "p4e_" + "A" * 42 + "-"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


def numbered(number: int) -> Key:
    return Key(f"k{number}", f"{number:064x}")


def test_the_map_is_in_the_order_of_names() -> None:
    assert digest(TOKEN) == DIGEST
    found = key_map([Key("south", "b" * 64, 60, 1_900_000_000, 2, 10_000), Key("north", DIGEST)])
    assert found == f"{DIGEST} north:0:0:0:0\n{'b' * 64} south:60:1900000000:2:10000\n"
    assert key_map([]) == ""


@pytest.mark.parametrize("token", ["", "p4e_", TOKEN[:-1], TOKEN + "A", TOKEN.replace("p4e", "p4f"), TOKEN[:-1] + "ö"])
def test_what_is_no_key_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ValueError, match="no key") as caught:
        digest(token)
    assert token in ("", "p4e_") or token not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "North", "a b", "a:b", "a\nb", "-a", ".a", "a" * 64, "ä", "a/b", "a#"],
    ids=lambda name: repr(name)[:12],
)
def test_names_cannot_change_the_map_or_a_log(name: str) -> None:
    with pytest.raises(ValueError, match="the key's name"):
        Key(name, DIGEST)


@pytest.mark.parametrize(
    ("field", "value"),
    [("digest", DIGEST.upper()), ("digest", DIGEST[:-1]), ("digest", TOKEN), ("per_minute", 1), ("per_minute", -1),
     ("per_minute", 60_001), ("expires", -1), ("expires", 1 << 40), ("at_once", -1), ("at_once", 257),
     ("tokens_per_day", -1), ("tokens_per_day", 1_000_000_001)],
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"found .*, needed ") as caught:
        Key(**{"name": "north", "digest": DIGEST, field: value})  # type: ignore[arg-type]
    assert TOKEN not in str(caught.value)


def test_no_two_keys_are_one() -> None:
    with pytest.raises(ValueError, match="same name"):
        key_map([Key("north", DIGEST), Key("north", "b" * 64)])
    with pytest.raises(ValueError, match="same digest"):
        key_map([Key("north", DIGEST), Key("south", DIGEST)])


def test_a_host_has_a_bounded_number_of_keys() -> None:
    assert key_map(map(numbered, range(MOST))).count("\n") == MOST
    with pytest.raises(ValueError, match=f"found {MOST + 1} keys"):
        key_map(map(numbered, range(MOST + 1)))
