"""The graph in onnxruntime, with the tiny model: the loop's answers are onnxruntime-genai's."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client import SOURCE, Engine, python
from numpy.typing import NDArray
from scripted import Request, play, requests

from phi4_engine import modeldir, supervisor
from phi4_engine.errors import EX_CONFIG, ConfigurationError
from phi4_engine.loop.rows import Rows

CONTEXT, VOCABULARY = 1024, 1980
"""Tokens; words of the tiny model, the special ones left out."""


@pytest.fixture(scope="module")
def session(model_dir: Path) -> Any:
    from phi4_engine.loop.session import Session

    return Session(modeldir.inspect(model_dir), rows=4, capacity=CONTEXT, threads=1)


@pytest.fixture(scope="module")
def reference(model_dir: Path) -> Any:
    from reference import Reference

    return Reference(model_dir, context_length=CONTEXT, threads=1)


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_that_of_the_generator(session: Any, reference: Any, seed: int) -> None:
    dice = random.Random(seed)
    wanted = [replace(one, leaves=None) for one in requests(dice, 12, longest=500, vocabulary=VOCABULARY, units=60)]
    greedy = [replace(one, seed=None, tokens=one.tokens | 1) for one in wanted]  # odd: without penalties
    found = play(session, greedy)
    for one in greedy:
        assert found[one.id] == reference.greedy(one.prompt, one.tokens), one.id


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_gives_the_same_text_alone_and_with_neighbours(session: Any, seed: int) -> None:
    dice = random.Random(seed)
    wanted = [replace(one, leaves=None) for one in requests(dice, 8, longest=200, vocabulary=VOCABULARY, units=30)]
    seeded = [replace(one, seed=number) for number, one in enumerate(wanted)]
    together = play(session, seeded)
    for one in seeded:
        assert play(session, [one])[one.id] == together[one.id]


def prompt(length: int, seed: int = 1) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, length).astype(np.int32)


def read(session: Any, row: int, tokens: NDArray[np.int32], start: int = 0, piece: int = 128) -> NDArray[Any]:
    for at in range(start, len(tokens), piece):
        scores = session.read(row, at, tokens[at : at + piece])
    return np.array(scores)


def test_pieces_of_any_size_give_the_same_scores_in_any_row(session: Any) -> None:
    tokens = prompt(300)
    once = read(session, 0, tokens)
    for row, piece in enumerate((2, 20, 60, 100)):
        assert (read(session, row, tokens, piece=piece) == once).all()


def test_a_step_for_four_gives_each_the_scores_of_its_own_step(session: Any) -> None:
    """Up to rounding: on some processors the kernel for four rows adds in another order than the one for one."""
    lengths = np.array([40, 300, 7, 128], np.int32)
    for row, length in enumerate(lengths):
        read(session, row, prompt(length, seed=row))
    tokens = np.array([5, 6, 7, 8], np.int32)
    together = np.array(session.step(0, tokens, lengths))
    for row in range(4):
        own = session.step(row, tokens[row : row + 1], lengths[row : row + 1])
        np.testing.assert_allclose(own[0], together[row], rtol=1e-5, atol=1e-5)


def test_scores_after_a_shared_beginning_are_those_of_a_fresh_row(session: Any) -> None:
    stem, first, second = prompt(200), prompt(90, seed=2), prompt(60, seed=3)
    fresh = read(session, 0, np.concatenate([stem, second]))
    for array in session.cache:
        array[:] = 0
    rows = Rows(session.cache)
    assert rows.take("first", np.concatenate([stem, first])) == 0
    read(session, rows.index("first"), np.concatenate([stem, first]))
    rows.wrote("first", np.concatenate([stem, first]), read=True)
    # The row of the first is in use: its beginning is copied. What it has behind it must not be seen.
    assert rows.take("second", np.concatenate([stem, second])) == 200
    copied = read(session, rows.index("second"), np.concatenate([stem, second]), start=200)
    assert (copied == fresh).all()
    rows.wrote("second", second, read=True)
    rows.give_back("first")
    rows.give_back("second")
    assert rows.take("third", np.concatenate([stem, second])) == 258
    again = read(session, rows.index("third"), np.concatenate([stem, second]), start=258)
    assert (again == fresh).all()


def test_a_run_that_is_told_to_stop_ends_soon_and_the_next_one_runs(session: Any) -> None:
    tokens = prompt(120)
    wanted = read(session, 0, tokens)
    stopped = 0
    for _ in range(50):
        threading.Timer(0.0005, session.halt, [True]).start()
        began = time.monotonic()
        try:
            while time.monotonic() - began < 10:
                read(session, 0, tokens)
        except RuntimeError as error:
            stopped += "terminate" in str(error)
        assert time.monotonic() - began < 5
        session.halt(False)
    assert stopped == 50
    assert (read(session, 0, tokens) == wanted).all()


def test_the_cache_takes_memory_as_it_is_used(model_dir: Path) -> None:
    from phi4_engine.loop.session import Session

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    big = Session(modeldir.inspect(model_dir), rows=64, capacity=4096, threads=1)
    size = sum(array.nbytes for array in big.cache)
    before = resident()
    read(big, 0, prompt(1000))
    assert size > 500e6
    assert resident() - before < 60e6


SHORT_ROWS = """
import json, sys
from pathlib import Path
import numpy as np
from phi4_engine import modeldir
from phi4_engine.loop.session import Session
session = Session(modeldir.inspect(Path(sys.argv[1])), rows=64, capacity=4096, threads=1)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
session.read(0, 0, np.arange(10, dtype=np.int32))
before = resident()
for row in range(1, 64):
    session.read(row, 0, np.arange(10, dtype=np.int32))
print(resident() - before)
"""


def test_short_rows_take_little_though_weights_are_in_huge_pages(model_dir: Path) -> None:
    environ = supervisor.surroundings({"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)})
    done = subprocess.run(
        python("-c", SHORT_ROWS, model_dir), env=environ, capture_output=True, check=True, text=True, timeout=120
    )
    assert int(done.stdout) < 40e6


def changed(model_dir: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> modeldir.ModelFiles:
    for file in model_dir.iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(change(data) if file.name == "model.onnx" else data)
    return modeldir.inspect(tmp_path)


def test_a_graph_with_another_input_is_refused(model_dir: Path, tmp_path: Path) -> None:
    from phi4_engine.loop.session import Session

    files = changed(model_dir, tmp_path, lambda data: data.replace(b"attention_mask", b"attention_mush"))
    with pytest.raises(ConfigurationError, match="its inputs differ by attention_mask, attention_mush"):
        Session(files, rows=1, capacity=64, threads=1)


@pytest.mark.parametrize(
    ("decoder", "told"),
    [
        ({"layers": 3}, "its inputs differ by past_key_values.2.key"),
        ({"kv_heads": 4}, "not [rows, 4, tokens, 64]"),
        ({"vocabulary": 1999}, "not [rows, tokens, 1999]"),
    ],
)
def test_a_graph_with_other_sizes_is_refused(model_dir: Path, decoder: dict[str, int], told: str) -> None:
    from phi4_engine.loop.session import Session

    files = modeldir.inspect(model_dir)
    with pytest.raises(ConfigurationError) as found:
        Session(replace(files, decoder=replace(files.decoder, **decoder)), rows=1, capacity=64, threads=1)
    assert told in str(found.value)


@pytest.fixture
def other(model_dir: Path, tmp_path: Path) -> Iterator[Engine]:
    changed(model_dir, tmp_path, lambda data: data.replace(b"attention_mask", b"attention_mush"))
    engine = Engine(python("-m", "phi4_engine"), {"PHI4_MODEL_DIR": str(tmp_path), "PHI4_CONTEXT_LENGTH": "512"})
    yield engine
    engine.close()


def test_an_engine_with_another_graph_says_so_and_ends_with_78(other: Engine) -> None:
    other.wait_for_log("is not a graph that this engine can run: its inputs differ")
    assert other.wait() == EX_CONFIG
    assert "Traceback" not in other.log


def test_requests_are_of_different_lengths_and_share_beginnings() -> None:
    """The random schedules above try what they are meant to try."""
    made: list[Request] = requests(random.Random(1), 200, longest=200, vocabulary=97, units=60)
    assert len({len(one.prompt) for one in made}) > 60
    assert sum(one.prompt[:40] == made[0].prompt[:40] for one in made) >= 1
    assert {one.leaves is None for one in made} == {True, False}
