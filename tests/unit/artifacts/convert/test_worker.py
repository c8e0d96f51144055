"""What conversion refuses before it starts, and what a plan gets; the real conversion is in tests/convert."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts import Delivery, delivery
from phi4_edge.artifacts.convert import environment, onnx, targets, tiny, wheelhouse, worker
from phi4_edge.artifacts.store import resources
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import manifest
from phi4_edge.core.plan.model import Plan, PlannedModel, Runtime
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.sample import leftovers, put

CATALOG = load_catalog()
CHECKPOINT = {"model.safetensors": b"w" * 4000, "config.json": b"{}"}
MODEL = "phi-4-mini-instruct"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    def no_environment(*_: object) -> None:
        raise AssertionError("the converter environment was asked for")

    monkeypatch.setattr(environment, "ensure", no_environment)
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("model", "to", "message"),
    [
        (MODEL, "gguf-q3_0", r"not a conversion target; targets of this release: onnx-int4, onnx-.*, gguf-q4_0"),
        (MODEL, "onnx-int8", r"'onnx-int8' is not a conversion target.*onnx-int4"),
        (MODEL, "../x", "not a conversion target"),
        ("phi-5", "onnx-int4", f"'phi-5' is not in the catalog; models: {MODEL}, tiny"),
        (MODEL, "onnx-int4", f"{MODEL}/onnx-published is not in .*it holds nothing.*--from names another source"),
        (MODEL, "gguf-q4_0", f"{MODEL}/safetensors is not in .*Fetch it with 'phi4-edge model fetch {MODEL}/safet"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_what_can(store: Store, model: str, to: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as error:
        targets.convert(store, CATALOG, model, to)
    assert error.value.exit_code == 3


def test_a_target_of_another_engine_is_refused_before_the_tiny_model_is_made(store: Store) -> None:
    with pytest.raises(ArtifactError, match="not a conversion target"):
        tiny.make(store, CATALOG, to="gguf-q3_0")
    assert not (store.root / "artifacts").exists()


def test_a_damaged_checkpoint_is_not_converted(store: Store) -> None:
    digest = put(store, f"{MODEL}/safetensors", CHECKPOINT)
    os.truncate(store.path(digest) / "model.safetensors", 3999)
    with pytest.raises(ArtifactError, match="3999 bytes, needed 4000"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4", source="safetensors")


def test_a_checkpoint_without_weights_is_not_converted(store: Store) -> None:
    put(store, f"{MODEL}/safetensors", {"config.json": b"{}"})
    with pytest.raises(ArtifactError, match="nothing to convert"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4", source="safetensors")


def test_the_full_model_needs_what_was_measured() -> None:
    parameters = CATALOG.shape(MODEL).parameters
    assert 4.4e9 < onnx.memory_need(parameters) < 4.7e9
    assert 4.8e9 < onnx.disk_need(parameters) < 6e9


@pytest.mark.parametrize("short", ["memory_available", "disk_free"])
def test_too_little_memory_or_disk_is_refused_before_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    put(store, f"{MODEL}/safetensors", CHECKPOINT)
    monkeypatch.setattr(resources, short, lambda *_: 50_000_000)
    kind = "memory, this controller has" if short == "memory_available" else "disk"
    with pytest.raises(ArtifactError, match=rf"converting {MODEL} to onnx-int4 needs 0\.\d GB of {kind}.* 0\.1 GB"):
        targets.convert(store, CATALOG, MODEL, "onnx-int4", source="safetensors")
    assert leftovers(store) == []


def test_pip_that_finds_no_torch_names_the_setting_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    store = Store(tmp_path / "store")
    with pytest.raises(ArtifactError, match=r"(?s)could not install torch==.*No matching.*PHI4_EDGE_TORCH_INDEX"):
        environment.ensure(store)
    assert leftovers(store) == []
    assert not any((store.root / "environments").glob("*"))


def test_a_worker_sees_no_checkout_around_the_store(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    ask = ["git", "rev-parse", "--git-dir"]
    assert subprocess.run(ask, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    env = worker.environment(tmp_path)
    assert subprocess.run(ask, cwd=tmp_path, env=env, capture_output=True, check=False).returncode != 0


def test_core_and_store_name_an_artifact_alike() -> None:
    entries = (("b", 1, "0" * 64), ("a", 2, "f" * 64), ("c/d", 3, "5" * 64))
    ours = Manifest("tiny/onnx-int4", tuple(FileEntry(*entry) for entry in entries), "MIT").digest
    assert ours == manifest.digest([manifest.File(*entry) for entry in entries])


class FakeContent:
    """Where the roles would be; enough for what is only handed on."""

    def roles(self) -> Path:
        return Path("/nowhere")


def plan(digest: str | None = None, runtime: str | None = "aaaaaaaaaaaaaaaa-cp313-x86_64") -> Plan:
    """A plan, as far as it names artifacts."""
    return Plan(
        "gw1", fits=True, bind="127.0.0.1", port=8080, forced=False, stability_seconds=1.0,
        model=PlannedModel("tiny", "tiny", "tiny/onnx-int4", digest, 1),
        runtime=Runtime(None, "a" * 64, "3.13", "x86_64", runtime) if runtime else None,
    )  # fmt: skip


def test_a_plan_without_a_model_needs_nothing(store: Store) -> None:
    with pytest.raises(ArtifactError, match="the plan of gw1 serves no model"):
        delivery.ensure(store, CATALOG, replace(plan(), fits=False, model=None), FakeContent())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the wheelhouses that were asked for; none is really built."""
    asked: list[str] = []

    def build(store: Store, name: str, *_: object) -> Path:
        asked.append(name)
        return store.root / "wheelhouses" / name

    monkeypatch.setattr(wheelhouse, "build", build)
    return asked


def test_what_is_there_is_checked_once_for_many_plans(store: Store, built: list[str]) -> None:
    digest = put(store)
    events: list[Event] = []
    first = delivery.ensure(store, CATALOG, plan(digest), FakeContent(), events.append)
    assert first == Delivery(digest, store.root / "wheelhouses" / built[0], (f"wheelhouse {built[0]}",))
    for _ in range(3):
        again = delivery.ensure(store, CATALOG, plan(digest), FakeContent(), events.append)
        assert again.made == ()
    assert len(built) == 1
    assert [event.step for event in events] == ["checking"]


def test_a_truncated_model_is_found_before_a_push(store: Store, built: list[str]) -> None:
    digest = put(store)
    os.truncate(store.path(digest) / "model.onnx", 7)
    with pytest.raises(ArtifactError, match=r"model\.onnx: 7 bytes, needed 2400") as error:
        delivery.ensure(store, CATALOG, plan(digest), FakeContent())
    assert error.value.exit_code == 3
    assert built == []


def test_an_artifact_that_was_replaced_after_planning_is_not_pushed(store: Store, built: list[str]) -> None:
    put(store)
    with pytest.raises(ArtifactError, match="plan again"):
        delivery.ensure(store, CATALOG, plan("f" * 64), FakeContent())
    assert built == []


def test_what_is_missing_is_made(store: Store, built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "convert", lambda store, *_: put(store))
    made = delivery.ensure(store, CATALOG, plan(runtime=None), FakeContent())
    assert (made.made, made.wheelhouse) == (("tiny/onnx-published", "tiny/onnx-int4"), None)
    assert store.damage("tiny/onnx-int4") == ()


def test_messages_say_gigabytes() -> None:
    assert re.fullmatch(r"23\.5 GB", resources.gigabytes(23_500_000_000))
