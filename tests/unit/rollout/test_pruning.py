"""Records that nobody needs: which those are, what the others' plans name, and that a kill leaves nothing half."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.errors import RecordError
from phi4_edge.rollout import pruning, record
from phi4_edge.rollout.journal import Journal
from tests.standins.rollout_journal import begin, contained, cut, good

Make = Callable[..., str]
DAY = 86_400


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a record of the kind `of`, one day after the one before; all are months old."""
    days = iter(range(1, 29))

    def made(of: Callable[..., object], inventory: Sequence[str] = ("/a/hosts.ini",), **header: Any) -> str:
        found = of(tmp_path, inventory=inventory, **header)
        if isinstance(found, Journal):
            found.close()
            found = found.id
        folder = tmp_path / "rollouts" / str(found)
        name = f"202001{next(days):02d}T000000Z-{str(found)[-6:]}"
        head = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps({**head, "id": name}))
        return folder.rename(folder.with_name(name)).name

    return made


def verdicts(root: Path, keep: int = 0, older_than: float = 0) -> dict[str, str]:
    """Why each record stays; "" for one that goes."""
    return {each.id: "" if each.goes else each.why for each in pruning.judge(root, keep, older_than)}


def planned(name: str, **parts: Any) -> Mapping[str, Any]:
    return {"format": "phi4-edge/plan/1", "host": name, **parts}


def test_nothing_on_record(tmp_path: Path) -> None:
    assert pruning.judge(tmp_path, 3, 0) == []
    assert pruning.named(tmp_path, 3) == {}
    pruning.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_inventory_keeps_its_newest(tmp_path: Path, make: Make) -> None:
    first = [make(good) for _ in range(3)]
    other = make(good, ["/b/hosts.ini"])
    found = verdicts(tmp_path, keep=2)
    assert list(found) == [*first, other]  # the oldest first
    assert [name for name, why in found.items() if not why] == [first[0]]
    assert found[other] == "one of the newest 2 of its inventory"
    assert verdicts(tmp_path) == dict.fromkeys([*first, other], "")


def test_what_began_lately_stays(tmp_path: Path, make: Make) -> None:
    old, new = make(good), good(tmp_path, inventory=["/a/hosts.ini"])
    assert verdicts(tmp_path, older_than=30 * DAY) == {old: "", new: "not older than --older-than"}


def test_a_rollout_that_runs_stays(tmp_path: Path) -> None:
    journal = cut(tmp_path)
    assert verdicts(tmp_path) == {journal.id: "it is running"}
    assert pruning.remove(tmp_path, journal.id) == "it is running again"
    assert record.load(tmp_path, journal.id)["state"] == "running"
    journal.close()
    assert verdicts(tmp_path) == {journal.id: "--resume goes on with it"}


def test_what_resume_goes_on_with_stays_until_its_hosts_are_finished(tmp_path: Path, make: Make) -> None:
    left = make(contained)
    part = make(good, limit="gw1")
    undone = make(cut, limit="gw2")
    found = verdicts(tmp_path)
    assert {name: bool(why) for name, why in found.items()} == {left: True, part: False, undone: True}
    # The hosts of a limit are finished, the other one waits on; then all of them are.
    ended = make(good, limit="gw2")
    assert [name for name, why in verdicts(tmp_path).items() if why] == [left]
    make(good)
    assert [name for name, why in verdicts(tmp_path).items() if why] == []
    assert ended in verdicts(tmp_path)


def test_what_resume_would_refuse_after_a_rollback_may_go(tmp_path: Path, make: Make) -> None:
    make(contained)
    back = make(cut, operation="rollback")
    assert [name for name, why in verdicts(tmp_path).items() if why] == [back]
    make(good)
    assert [name for name, why in verdicts(tmp_path).items() if why] == []


@pytest.mark.parametrize("keep", range(5))
def test_resume_goes_on_with_the_same_after_pruning(tmp_path: Path, make: Make, keep: int) -> None:
    kinds = [contained, good, cut, contained, good, cut]
    for number, kind in enumerate(kinds):
        make(kind, limit=f"gw{number % 3}" if number % 2 else None)
    before = record.newest_unfinished(tmp_path, ["/a/hosts.ini"])
    gone = [each.id for each in pruning.judge(tmp_path, keep, 0) if each.goes]
    for name in gone:
        assert pruning.remove(tmp_path, name) == ""
        assert record.newest_unfinished(tmp_path, ["/a/hosts.ini"]) == before
    assert gone or keep > 2


def test_a_record_that_cannot_be_read_stays(tmp_path: Path, make: Make) -> None:
    for name in ("header.json", "result.json"):
        damaged = make(good)
        (tmp_path / "rollouts" / damaged / name).write_text("[")
        assert "cannot be read" in verdicts(tmp_path)[damaged]


def test_a_removed_record_is_gone(tmp_path: Path, make: Make) -> None:
    first, second = make(good), make(good)
    assert pruning.remove(tmp_path, first) == ""
    assert pruning.remove(tmp_path, first) == ""  # another one was quicker
    assert record.ids(tmp_path) == [second]
    assert [path.name for path in (tmp_path / "rollouts").iterdir()] == [second]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from phi4_edge.rollout import pruning
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "delete": shutil.rmtree = die
if sys.argv[3] == "rename": Path.rename = die
pruning.remove(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("place", ["rename", "delete"])
def test_a_kill_leaves_a_whole_record_or_none(tmp_path: Path, make: Make, place: str) -> None:
    name = make(good)
    before = sorted(path.name for path in (tmp_path / "rollouts" / name).iterdir())
    command = [sys.executable, "-c", KILLED, str(tmp_path), name, place]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    if place == "rename":
        assert sorted(path.name for path in (tmp_path / "rollouts" / name).iterdir()) == before
        assert record.load(tmp_path, name)["state"] == "done"
    else:
        assert record.ids(tmp_path) == []
        assert [path.name for path in (tmp_path / "rollouts").iterdir()] == [f".pruned-{name}"]
    pruning.sweep(tmp_path)
    assert pruning.remove(tmp_path, name) == ""
    assert list((tmp_path / "rollouts").iterdir()) == []


def test_a_folder_that_is_not_ours_is_an_error_with_its_name(tmp_path: Path, make: Make) -> None:
    name = make(good)
    alive = tmp_path / "rollouts" / name / "alive"
    alive.unlink()
    alive.mkdir()
    with pytest.raises(RecordError, match="cannot be removed"):
        pruning.remove(tmp_path, name)


def with_plans(*plans: Mapping[str, Any]) -> Callable[..., Journal]:
    def made(root: Path, **header: Any) -> Journal:
        journal = cut(root, **header)
        journal.plans(plans)
        return journal

    return made


MODEL = {"artifact": "tiny/onnx-int4", "digest": "m"}
NATIVE = planned("gw1", model=MODEL, runtime={"artifact": None, "digest": "r", "id": "w"}, image=None, webui=None)
BOXED = planned(
    "gw2", model={"artifact": "tiny/gguf", "digest": None}, runtime=None,
    image={"key": "o:1/amd64", "digest": "sha256:o"}, webui={"image": {"key": "p:1/amd64", "digest": None}},
)  # fmt: skip


def test_what_plans_name(tmp_path: Path, make: Make) -> None:
    name = make(with_plans(NATIVE, BOXED, planned("gw3", model=None)))
    assert pruning.named(tmp_path, 1) == dict.fromkeys(
        ("tiny/onnx-int4", "m", "r", "w", "tiny/gguf", "o:1/amd64", "sha256:o", "p:1/amd64"), name
    )


def test_the_newest_with_plans_count_and_those_that_are_not_at_their_end(tmp_path: Path, make: Make) -> None:
    waits = make(with_plans(planned("gw1", model={"artifact": "a/waits"})), limit="gw9")
    make(with_plans(planned("gw1", model={"artifact": "a/old"})), limit="gw1")
    newest = make(with_plans(planned("gw1", model={"artifact": "a/new"})), limit="gw1")
    make(good, limit="gw1")
    make(good, operation="rollback")  # without plans: it names nothing, and takes no other's place
    assert pruning.named(tmp_path, 1) == {"a/new": newest}
    other = make(with_plans(planned("gw1", model={"artifact": "a/other"})), ["/b.ini"])
    assert pruning.named(tmp_path, 1) == {"a/new": newest, "a/other": other}
    assert waits in pruning.named(tmp_path, 9).values()
    fresh = make(with_plans(planned("gw1", model={"artifact": "a/fresh"})), limit="gw9")
    assert pruning.named(tmp_path, 0) == {"a/fresh": fresh, "a/other": other}


def test_plans_of_another_version_name_what_they_can(tmp_path: Path, make: Make) -> None:
    name = make(with_plans({"model": "x", "image": [], "runtime": {"id": 5, "artifact": "ollama/1"}, "webui": {}}))
    assert pruning.named(tmp_path, 1) == {"ollama/1": name}


@pytest.mark.parametrize("text", ["[", "[]", '{"plans": 5}', '{"plans": [], "sha256": "x"}'])
def test_plans_that_cannot_be_read_are_no_reason_to_remove_what_they_name(
    tmp_path: Path, make: Make, text: str
) -> None:
    name = make(good)
    (tmp_path / "rollouts" / name / "plans.json").write_text(text)
    with pytest.raises(RecordError, match=r"plans\.json"):
        pruning.named(tmp_path, 1)


def test_begin_leaves_records_that_can_be_judged(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.close()
    assert [each.age is not None and each.size > 0 for each in pruning.judge(tmp_path, 1, 0)] == [True]
