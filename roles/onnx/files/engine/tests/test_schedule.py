"""What runs next, and how much of it."""

from __future__ import annotations

import pytest

from phi4_engine.loop.schedule import Piece, Schedule, Step


def test_nothing_to_do_is_nothing() -> None:
    assert Schedule().choose(decoding=False, left=0) is None


def test_whoever_is_alone_gets_every_turn() -> None:
    schedule = Schedule()
    assert [schedule.choose(decoding=True, left=0) for _ in range(3)] == [Step()] * 3
    assert [schedule.choose(decoding=False, left=900) for _ in range(3)] == [Piece(128)] * 3


def test_steps_and_pieces_take_turns() -> None:
    schedule = Schedule()
    kinds = [type(schedule.choose(decoding=True, left=900)) for _ in range(6)]
    assert kinds == [Step, Piece] * 3


@pytest.mark.parametrize(
    ("tokens", "seconds", "size"),
    [(128, 0.1, 128), (128, 0.5, 64), (128, 1.0, 32), (128, 10.0, 16), (16, 0.125, 32), (16, 0.0, 128)],
)
def test_beside_others_a_piece_is_what_fits_in_a_quarter_of_a_second(tokens: int, seconds: float, size: int) -> None:
    schedule = Schedule()
    schedule.measured(tokens, seconds)
    assert schedule.choose(decoding=True, left=900) == Step()
    assert schedule.choose(decoding=True, left=900) == Piece(size)
    assert schedule.choose(decoding=False, left=900) == Piece(128)


@pytest.mark.parametrize(("left", "sizes"), [(1, [1]), (2, [2]), (128, [128]), (129, [127, 2]), (257, [128, 127, 2])])
def test_no_token_is_left_to_be_read_by_itself(left: int, sizes: list[int]) -> None:
    schedule, found = Schedule(), []
    while left:
        piece = schedule.choose(decoding=False, left=left)
        assert isinstance(piece, Piece)
        found.append(piece.tokens)
        left -= piece.tokens
    assert found == sizes
