"""Workers have what their hosts are sent, over the connection that they work with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.model import Plan, PlannedModel
from phi4_edge.errors import ArtifactError
from phi4_edge.operations import supply as operations_supply
from phi4_edge.runner.access import Access
from phi4_edge.runner.workers.link import Hello, Link, connect
from phi4_edge.runner.workers.pool import Pool, Worker
from tests.unit.runner.local_workers import argv

PLAN = Plan(
    "gw1", fits=True, bind="127.0.0.1", port=8080, forced=False, stability_seconds=1.0, engine="onnx",
    service_manager="systemd", model=PlannedModel("tiny", "tiny", "tiny/onnx-int4", None, 1),
)  # fmt: skip


class View:
    """What a view shows of it."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        assert done <= total


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "here")
    with made.workspace("test") as work:
        folder = work / "made"
        folder.mkdir()
        (folder / "model.data").write_bytes(os.urandom(2_000_000))
        described = manifest.describe(folder)
        made.adopt(folder, Manifest(artifact="tiny/onnx-int4", files=described, licence="MIT", source={"kind": "test"}))
    return made


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of the worker `w1`; `w2` is no worker any more."""

    def reach(target: str) -> tuple[Link, Hello]:
        # What a worker is told of its own machine; ssh hands nothing of this one on.
        there = ["env", f"PHI4_EDGE_STORE={tmp_path / 'there'}", *argv(tmp_path)]
        return connect(target, there if target == "w1" else ["sh", "-c", "echo no route >&2"])

    monkeypatch.setattr(operations_supply, "connect", reach)
    return Store(tmp_path / "there")


def supply(store: Store) -> tuple[Pool, View]:
    view = View()
    pool = Pool(Access(()), [Worker(target, "/s", 1) for target in ("w2", "w1")], note=view.note)
    operations_supply.supply(pool, [PLAN, replace(PLAN, fits=False, model=None)], store, view)  # type: ignore[arg-type]
    return pool, view


def test_what_is_lacking_is_copied_once_and_a_lost_worker_is_given_up(store: Store, there: Store) -> None:
    pool, view = supply(store)
    assert there.verify("tiny/onnx-int4").digest == store.digest("tiny/onnx-int4")
    assert [worker.target for worker in pool.workers] == ["w1"]
    assert view.notes == [
        "worker w2 is given up: lost worker w2: no route (1 left)",
        "worker w1: 2 MB copied to its store",
    ]
    assert len(supply(store)[1].notes) == 1


def test_a_worker_that_does_not_take_it_says_why(store: Store, there: Store) -> None:
    there.root.mkdir()
    (there.root / "partial").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"worker w1 did not get what its hosts need: w1: .*partial"):
        supply(store)
