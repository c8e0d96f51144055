"""The tiny model of the package, fetched and tied like the real one: it answers what it was taught."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import exam, onnx_prover, taught, tiny
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from tests.convert import random_model

pytestmark = pytest.mark.convert


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with nothing in it."""
    return random_model.store_beside(tmp_path_factory.mktemp("taught") / "store")


def test_it_is_tied_without_pytorch_and_answers_word_for_word(store: Store, tmp_path: Path) -> None:
    steps = list[str]()
    digest = tiny.make(store, load_catalog(), lambda event: steps.append(event.step))
    assert steps[0] == "copying from the package" and "tying" in steps and "answered" in steps
    assert store.manifest("tiny/onnx-int4").source["artifact"] == "tiny/onnx-published"
    found = exam.examine(onnx_prover.ensure(store), "tied", store.path(digest), tmp_path, exam.questions())
    assert found.right >= taught.PASS * found.asked, found.wrong[:10]


def test_what_is_there_is_not_made_again(store: Store) -> None:
    first, steps = tiny.make(store, load_catalog()), list[str]()
    assert tiny.make(store, load_catalog(), lambda event: steps.append(event.step)) == first
    assert steps == ["checking the published export"]
