"""`phi4-edge model prune` and `rollout prune` as an operator meets them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import Result

from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import schema
from phi4_edge.operations.prune import environments
from phi4_edge.rollout import record
from tests.standins.rollout_journal import cut, good
from tests.unit.artifacts.sample import put, run_python

Invoke = Callable[..., Result]
NEEDED, OLD_WHEELS = "0123456789abcdef-cp313-x86_64", "fedcba9876543210-cp311-x86_64"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a bit of everything, all of it years old."""
    store = Store(tmp_path / "store")
    put(store)
    put(store, "tiny/safetensors", {"model.safetensors": b"x"})
    current = sorted(environments())[0]
    for path in (
        f"wheelhouses/{NEEDED}", f"wheelhouses/{OLD_WHEELS}", "environments/converter-0", f"environments/{current}",
        "partial/ollama-0.1", "tmp/discarded-1",
    ):  # fmt: skip
        (store.root / path).mkdir(parents=True)
        (store.root / path / "file").write_bytes(b"x" * 1000)
    for path in store.root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return store


def rollout(state: Path, *plans: dict[str, Any]) -> str:
    journal = cut(state)
    journal.plans(plans)
    journal.close()
    return journal.id


def plan(runtime: str = NEEDED, model: str = "tiny/onnx-int4") -> dict[str, Any]:
    return {"host": "gw1", "model": {"artifact": model, "digest": None}, "runtime": {"id": runtime, "artifact": None}}


def pruned(invoke: Invoke, *arguments: str) -> dict[str, dict[str, str]]:
    """Names of things by outcome, and why."""
    found = invoke("model", "prune", "-o", "json", *arguments)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    jsonschema.Draft202012Validator(schema("prune")).validate(document)
    by: dict[str, dict[str, str]] = {}
    for thing in document["things"]:
        by.setdefault(thing["outcome"], {})[thing["name"]] = thing["why"]
    return by


def test_a_dry_run_says_what_and_why_and_changes_nothing(invoke: Invoke, store: Store, state: Path) -> None:
    name = rollout(state, plan())
    before = sorted(store.root.rglob("*"))
    found = pruned(invoke, "--dry-run")
    assert sorted(found["would be removed"]) == ["converter-0", OLD_WHEELS, "ollama-0.1", "tmp"]
    assert found["kept"][NEEDED] == found["kept"]["tiny/onnx-int4"] == f"rollout {name} names it"
    assert "--all" in found["kept"]["tiny/safetensors"]
    shown = invoke("model", "prune", "--dry-run")
    assert shown.output.splitlines()[-1] == "4 things would be removed, 4.0 kB"
    assert f"kept: rollout {name} names it" in shown.output
    assert sorted(store.root.rglob("*")) == before


def test_it_asks_before_it_removes(invoke: Invoke, store: Store, state: Path) -> None:
    rollout(state, plan())
    refused = invoke("model", "prune")
    assert refused.exit_code == 1
    assert 'found no terminal to ask "Remove 4 things (4.0 kB)' in refused.stderr
    assert (store.root / "wheelhouses" / OLD_WHEELS).is_dir()
    done = invoke("model", "prune", "--yes")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "4 things removed, 4.0 kB freed")
    assert [path.name for path in (store.root / "wheelhouses").iterdir()] == [NEEDED]
    assert list((store.root / "partial").iterdir()) == list((store.root / "tmp").iterdir()) == []
    assert sorted(store.digests()) == ["tiny/onnx-int4", "tiny/safetensors"]
    again = invoke("model", "prune")  # nothing to do, nothing to ask
    assert (again.exit_code, again.output.splitlines()[-1]) == (0, "0 things removed, 0 B freed")


def test_models_go_only_with_all(invoke: Invoke, store: Store, state: Path) -> None:
    rollout(state, plan())
    assert "tiny/safetensors" in pruned(invoke, "--all", "--yes")["removed"]
    assert sorted(store.digests()) == ["tiny/onnx-int4"]


def test_the_last_rollouts_count_and_no_others(invoke: Invoke, store: Store, state: Path) -> None:
    journal_of = {runtime: good(state) for runtime in (OLD_WHEELS, NEEDED)}
    for runtime, name in journal_of.items():
        from phi4_edge.rollout import journal

        plans = [plan(runtime)]
        folder = state / "rollouts" / name
        journal.write(folder / "plans.json", {"sha256": journal.digest(plans), "plans": plans})
    assert OLD_WHEELS in pruned(invoke, "--dry-run", "--keep", "2")["kept"]
    assert OLD_WHEELS in pruned(invoke, "--dry-run", "--keep", "1")["would be removed"]


def test_without_a_record_nothing_is_taken_that_a_plan_may_need(invoke: Invoke, store: Store) -> None:
    found = pruned(invoke, "--all", "--yes")
    assert sorted(found["removed"]) == ["converter-0", "ollama-0.1", "tmp"]
    assert found["kept"][OLD_WHEELS] == "no rollout on record says what is needed"


def test_what_is_young_stays(invoke: Invoke, store: Store, state: Path) -> None:
    rollout(state, plan())
    assert OLD_WHEELS in pruned(invoke, "--dry-run", "--older-than", "999w")["kept"]
    assert OLD_WHEELS in pruned(invoke, "--dry-run", "--older-than", "0")["would be removed"]


PROVISIONING = """
import sys
from pathlib import Path
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.store.store import Store
from tests.cli.test_prune import needs
store = Store(Path(sys.argv[1]))
needs(store)
print("ready", flush=True)
sys.stdin.read()
"""


def needs(store: Store) -> None:
    """What a run does with what its plans name, before it pushes it."""
    assert store.use("tiny/onnx-int4")
    store.hold("wheelhouses", OLD_WHEELS)
    store.hold("partial", "ollama-0.1")


def test_what_a_run_in_another_process_uses_is_kept_until_it_ends(invoke: Invoke, store: Store, state: Path) -> None:
    rollout(state, plan(NEEDED, "nothing/onnx-int4"))
    with subprocess.Popen(
        run_python(PROVISIONING, store.root), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        found = pruned(invoke, "--all", "--yes")
        held = {name: why for name, why in found["kept"].items() if why == "another process uses it"}
        assert sorted(held) == [OLD_WHEELS, "ollama-0.1", "tiny/onnx-int4"]
        assert "converter-0" in found["removed"]
        shown = invoke("model", "prune", "--all", "--yes")
        assert f"kept {OLD_WHEELS}: another process uses it" in shown.output
        other.kill()
    assert sorted(pruned(invoke, "--all", "--yes")["removed"]) == [OLD_WHEELS, "ollama-0.1", "tiny/onnx-int4"]


def test_a_record_that_counts_and_cannot_be_read_stops_it(invoke: Invoke, store: Store, state: Path) -> None:
    (state / "rollouts" / rollout(state, plan()) / "plans.json").write_text("[")
    found = invoke("model", "prune", "--yes")
    assert found.exit_code == 1
    assert "plans.json" in found.stderr and "Traceback" not in found.output
    assert (store.root / "wheelhouses" / OLD_WHEELS).is_dir()


@pytest.mark.parametrize("age", ["5", "d", "-1d", "1y", "1.5d", "", "9999999d", "1d\n"])
def test_an_age_that_is_none(invoke: Invoke, age: str) -> None:
    found = invoke("model", "prune", "--older-than", age)
    assert found.exit_code == 1
    assert "needed a number with s, m, h, d or w" in found.stderr


def test_records_of_rollouts(invoke: Invoke, state: Path) -> None:
    names = [good(state) for _ in range(3)]
    left = rollout(state, plan())
    shown = invoke("rollout", "prune", "--keep", "2", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1].startswith("2 things would be removed, ")
    assert "kept: --resume goes on with it" in shown.output
    assert invoke("rollout", "prune", "--keep", "2").exit_code == 1
    assert len(record.ids(state)) == 4
    found = invoke("rollout", "prune", "--keep", "2", "--yes", "-o", "yaml")
    document = yaml.safe_load(found.stdout)
    jsonschema.Draft202012Validator(schema("prune")).validate(document)
    assert {thing["name"] for thing in document["things"] if thing["outcome"] == "removed"} == set(names[:2])
    assert record.ids(state) == [left, names[2]]
    assert document["removed_bytes"] > 1000


def test_no_records(invoke: Invoke, state: Path) -> None:
    found = invoke("rollout", "prune")
    assert (found.exit_code, found.stdout) == (0, f"nothing in {state}/rollouts\n0 things removed, 0 B freed\n")
