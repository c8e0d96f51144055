"""The keys file as text: what is written is read again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.gateway import keys_file
from phi4_edge.core.gateway.key_map import LATEST, MOST, MOST_AT_ONCE, MOST_TOKENS_PER_DAY, Key

DIGEST = "a" * 64
DAYS = st.one_of(st.just(0), st.integers(1, LATEST // 86_400).map(lambda day: day * 86_400))
KEYS = st.lists(
    st.builds(
        Key,
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.one_of(st.just(0), st.integers(2, 60_000)),
        DAYS,
        st.integers(0, MOST_AT_ONCE),
        st.one_of(st.just(0), st.integers(1, MOST_TOKENS_PER_DAY)),
    ),
    max_size=8,
    unique_by=(lambda key: key.name, lambda key: key.digest),
)


@given(KEYS)
def test_what_is_written_is_read_again(keys: list[Key]) -> None:
    text = keys_file.encode(keys)
    assert keys_file.decode(text.encode()) == tuple(sorted(keys, key=lambda key: key.name))


def test_a_key_is_good_until_its_last_day_is_over() -> None:
    assert keys_file.expiry("1970-01-01") == 86_400
    assert keys_file.expiry("2027-01-31") == 1_801_440_000
    assert keys_file.last_day(Key("north", DIGEST, expires=keys_file.expiry("2028-02-29"))) == "2028-02-29"
    assert keys_file.last_day(Key("north", DIGEST)) == ""


@pytest.mark.parametrize(
    "day", ["", "2027-1-31", "2027-02-30", "31.01.2027", "2027-01-31 ", "2027-01-31T00:00", "٢٠٢٧-01-31"]
)
def test_what_is_no_day_is_refused(day: str) -> None:
    with pytest.raises(ValueError, match="needed a day such as 2027-01-31"):
        keys_file.expiry(day)


def test_the_text_is_for_people_too() -> None:
    text = keys_file.encode([Key("south", DIGEST), Key("north", "b" * 64, 60, keys_file.expiry("2027-01-31"))])
    head, *lines = text.splitlines()
    assert head.startswith("# phi4-edge/gateway-keys/1: name, SHA-256")
    assert lines == [f"north {'b' * 64} 60 0 2027-01-31", f"south {DIGEST} 0 0 -"]


def test_a_file_with_tokens_per_day_is_of_the_second_format_and_others_stay_what_older_versions_read() -> None:
    limited = Key("south", DIGEST, 60, tokens_per_day=10_000)
    head, *lines = keys_file.encode([limited, Key("north", "b" * 64)]).splitlines()
    assert head.startswith("# phi4-edge/gateway-keys/2: name, SHA-256")
    assert lines == [f"north {'b' * 64} 0 0 0 -", f"south {DIGEST} 60 0 10000 -"]
    assert keys_file.encode([replace(limited, tokens_per_day=0)]).startswith("# phi4-edge/gateway-keys/1:")
    before = f"# phi4-edge/gateway-keys/1: anything\nsouth {DIGEST} 60 2 2027-01-31\n"
    assert keys_file.decode(before.encode()) == (Key("south", DIGEST, 60, 1_801_440_000, 2),)


@pytest.mark.parametrize(
    "line",
    [f"north {DIGEST} 0 0 -", f"north {DIGEST} 0 0 - 0", f"north {DIGEST} 0 0 -1 -", f"north {DIGEST} 0 0 1000000001 -",
     f"north {DIGEST} 0 0 1e6 -", f"north {DIGEST} 0 0 0 0 -", f"north {DIGEST} 0 0 07 -"],
)  # fmt: skip
def test_a_line_of_the_second_format_has_one_number_more(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: "):
        keys_file.decode(f"{keys_file.FORMAT_TOKENS}\n{line}\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        "", "north", f"north {DIGEST} 0 0", f"north {DIGEST} 0 0 - -", f"north  {DIGEST} 0 0 -",
        f"North {DIGEST} 0 0 -", f"north {DIGEST[1:]} 0 0 -", f"north {DIGEST} 1 0 -", f"north {DIGEST} -1 0 -",
        f"north {DIGEST} 0 -1 -", f"north {DIGEST} 0 257 -", f"north {DIGEST} 07 0 -", f"north {DIGEST} 1e3 0 -",
        f"north {DIGEST} 1000000 0 -", f"north {DIGEST} 0 0 never", f"north {DIGEST} 0 0 2027-13-01",
        f"north {DIGEST} 0 -", f"north\t{DIGEST} 0 0 -", f"north:x {DIGEST} 0 0 -",
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 3: "):
        keys_file.decode(f"{keys_file.FORMAT}\nsouth {'b' * 64} 0 0 -\n{line}\n".encode())


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "the first line"), (b"north\n", "the first line"), (b"\n", "the first line"),
        (f"{keys_file.FORMAT}0\n".encode(), "the first line"), ("# ä\n".encode(), "no ASCII"), (b"\xff", "no ASCII"),
        (b"#" * (keys_file.LONGEST + 1), "found more than"),
        (f"{keys_file.FORMAT}\na {DIGEST} 0 0 -\na {'b' * 64} 0 0 -\n".encode(), "the same name"),
        (f"{keys_file.FORMAT}\na {DIGEST} 0 0 -\nb {DIGEST} 0 0 -\n".encode(), "the same digest"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_another_file_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        keys_file.decode(raw)


def test_a_file_of_the_most_keys_is_read() -> None:
    most = (60_000, LATEST, MOST_AT_ONCE, MOST_TOKENS_PER_DAY)
    keys = [Key(f"{number:063d}", f"{number:064x}", *most) for number in range(MOST)]
    assert len(keys_file.decode(keys_file.encode(keys).encode())) == MOST
