"""Which row a prompt gets, what of it is there already, and that moving rows moves what they hold."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from phi4_engine.loop.rows import Rows
from phi4_engine.modeldir import SHORT_CONTEXT


class Held:
    """Rows over a small cache in which each token's key is the token."""

    def __init__(self, rows: int = 4, capacity: int = 200, *, reuse: int = SHORT_CONTEXT) -> None:
        self.cache = [np.zeros((rows, heads, capacity, 2)) for heads in (1, 3)]
        self.rows = Rows(self.cache, reuse=reuse)

    def read(self, owner: str, prompt: Sequence[int]) -> int:
        """The owner has read the prompt; returns how much was there already."""
        cached = self.rows.take(owner, tokens(prompt))
        assert cached is not None
        self.write(owner, prompt[cached:], read=True)
        return cached

    def write(self, owner: str, more: Sequence[int], *, read: bool) -> None:
        at, length = self.rows.index(owner), self.rows.length(owner)
        for array in self.cache:
            array[at, :, length : length + len(more)] = np.array(more)[:, None]
        self.rows.wrote(owner, tokens(more), read=read)

    def holds(self, owner: str) -> list[list[int]]:
        """What the owner's row has, by array."""
        at, length = self.rows.index(owner), self.rows.length(owner)
        return [array[at, -1, :length, -1].astype(int).tolist() for array in self.cache]


def tokens(values: Sequence[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)


SYSTEM = list(range(50))


def test_a_free_row_gives_what_it_shares_and_the_rest_is_read() -> None:
    held = Held()
    assert held.read("a", [*SYSTEM, 90, 91]) == 0
    held.rows.give_back("a")
    assert held.read("b", [*SYSTEM, 80, 81, 82]) == 50
    assert held.holds("b") == [[*SYSTEM, 80, 81, 82]] * 2


def test_a_row_in_use_is_copied_from_and_stays() -> None:
    held = Held()
    held.read("a", [*SYSTEM, 90, 91])
    assert held.read("b", [*SYSTEM, 80, 81]) == 50
    assert held.holds("a") == [[*SYSTEM, 90, 91]] * 2
    assert held.holds("b") == [[*SYSTEM, 80, 81]] * 2


@pytest.mark.parametrize(("shared", "cached"), [(31, 0), (32, 32), (50, 50)])
def test_a_beginning_of_less_than_32_tokens_does_not_count(shared: int, cached: int) -> None:
    held = Held()
    held.read("a", SYSTEM)
    held.rows.give_back("a")
    assert held.read("b", [*SYSTEM[:shared], 90, 91, 92]) == cached


def test_two_tokens_at_least_are_left_to_read() -> None:
    held = Held()
    held.read("a", SYSTEM)
    held.rows.give_back("a")
    assert held.read("b", SYSTEM) == 48
    assert held.read("c", SYSTEM[:33]) == 0


def test_what_was_decoded_is_read_when_it_comes_back() -> None:
    held = Held()
    held.read("a", SYSTEM)
    for token in (70, 71, 72):
        held.write("a", [token], read=False)
    held.rows.give_back("a")
    assert held.read("b", [*SYSTEM, 70, 71, 72, 73, 74]) == 50


def test_a_token_that_was_read_by_itself_does_not_count() -> None:
    held = Held()
    assert held.rows.take("a", tokens(SYSTEM)) == 0
    held.write("a", SYSTEM[:49], read=True)
    held.write("a", SYSTEM[49:], read=True)
    held.rows.give_back("a")
    assert held.read("b", [*SYSTEM, 1, 2, 3]) == 49


@pytest.mark.parametrize(("reuse", "cached"), [(SHORT_CONTEXT, 4096), (8192, 4900)])
def test_never_past_the_short_factors_unless_they_are_the_only_ones(reuse: int, cached: int) -> None:
    held = Held(rows=2, capacity=5000, reuse=reuse)
    long = [at % 1000 for at in range(4900)]
    held.read("a", long)
    held.rows.give_back("a")
    assert held.read("b", [*long, 1, 2, 3]) == cached


def test_reuse_can_be_off() -> None:
    held = Held(reuse=0)
    held.read("a", SYSTEM)
    assert held.read("b", SYSTEM) == 0
    held.rows.give_back("a")
    assert held.read("c", SYSTEM) == 0


def test_nothing_of_a_failed_row_is_used() -> None:
    held = Held(rows=1)
    held.read("a", SYSTEM)
    held.rows.forget("a")
    assert held.read("b", SYSTEM) == 0


def test_without_anything_in_common_the_row_goes_that_was_used_least_recently() -> None:
    held = Held(rows=3)
    for name, first in (("a", 100), ("b", 200), ("c", 300)):
        held.read(name, range(first, first + 40))
    for name in ("b", "a", "c"):
        held.rows.give_back(name)
    held.read("d", range(400, 440))
    assert held.rows.take("e", tokens([*range(200, 240), 1, 2])) == 0, "b's row is gone"
    assert held.rows.take("f", tokens([*range(300, 340), 1, 2])) == 40


def test_a_long_conversation_is_not_given_for_its_first_words() -> None:
    held = Held(rows=2)
    held.read("a", [*SYSTEM, *range(100, 200)])
    held.rows.give_back("a")
    assert held.read("b", [*SYSTEM, 60, 61, 62]) == 50
    held.rows.give_back("b")
    assert held.rows.take("c", tokens([*SYSTEM, *range(100, 200), 1, 2])) == 150


def test_when_all_rows_have_owners_there_is_none() -> None:
    held = Held(rows=1)
    held.read("a", [1, 2])
    assert held.rows.take("b", tokens([1, 2])) is None
    with pytest.raises(KeyError):
        held.rows.index("b")


@pytest.mark.parametrize("seed", range(50))
def test_gathering_makes_neighbours_and_loses_nothing(seed: int) -> None:
    dice = random.Random(seed)
    held, wanted = Held(rows=dice.randint(1, 8)), {}
    for number in range(40):
        if len(wanted) < len(held.rows) and dice.random() < 0.6:
            name, prompt = f"o{number}", [dice.randrange(1000) for _ in range(dice.randint(1, 150))]
            held.read(name, prompt)
            wanted[name] = prompt
        elif wanted:
            name = dice.choice(list(wanted))
            held.rows.give_back(name)
            del wanted[name]
        chosen = dice.sample(list(wanted), dice.randint(0, len(wanted)))
        if chosen:
            first, order = held.rows.gather(chosen)
            assert sorted(order) == sorted(chosen)
            assert [held.rows.index(name) for name in order] == list(range(first, first + len(order)))
        for name, prompt in wanted.items():
            assert held.holds(name) == [prompt, prompt]


def test_a_fork_holds_what_its_source_holds_and_goes_its_own_way() -> None:
    held = Held(rows=3)
    held.read("a", SYSTEM)
    assert held.rows.fork("a", "b")
    held.write("a", [60], read=False)
    held.write("b", [70], read=False)
    assert held.holds("a") == [[*SYSTEM, 60]] * 2
    assert held.holds("b") == [[*SYSTEM, 70]] * 2
    assert held.rows.fork("b", "c")
    assert not held.rows.fork("a", "d"), "all three rows have owners"
    held.rows.give_back("b")
    assert held.read("d", [*SYSTEM, 70, 71, 72]) == 50, "what b read is kept, what it decoded is not"


def test_neighbours_are_left_where_they_are() -> None:
    held = Held()
    for name in "abcd":
        held.read(name, [ord(name)] * 20)
    held.rows.give_back("a")
    before = [array.copy() for array in held.cache]
    assert held.rows.gather("bcd") == (1, ["b", "c", "d"])
    assert all((array == old).all() for array, old in zip(held.cache, before, strict=True))
