"""What plans need reaches another store whole, once, and goes on where it broke off."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.artifacts.bundle import handover
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.model import Plan, PlannedModel
from phi4_edge.errors import ArtifactError


def filled(root: Path) -> Store:
    store = Store(root)
    for name, size in (("tiny/onnx-int4", 300_000), ("tiny/gguf-q4_0", 50_000)):
        with store.workspace("test") as work:
            folder = work / "made"
            folder.mkdir()
            (folder / "model.data").write_bytes(os.urandom(size))
            described = Manifest(artifact=name, files=manifest.describe(folder), licence="MIT", source={"kind": "test"})
            store.adopt(folder, described)
    return store


def plan(artifact: str) -> Plan:
    return Plan(
        f"for-{artifact.partition('/')[2]}", fits=True, bind="127.0.0.1", port=8080, forced=False,
        stability_seconds=1.0, engine="ollama", service_manager="systemd",
        model=PlannedModel("m", "m", artifact, None, 1),
    )  # fmt: skip


class Cut:
    """A connection that ends after so many bytes."""

    def __init__(self, sink: Any, after: int) -> None:
        self._sink, self._left = sink, after

    def write(self, block: bytes) -> int:
        if len(block) > self._left:
            self._sink.write(memoryview(block)[: self._left])
            self._sink.close()
            raise BrokenPipeError("cut")
        self._left -= len(block)
        return int(self._sink.write(block))

    def flush(self) -> None:
        self._sink.flush()


def hand(here: Store, there: Store, plans: list[Mapping[str, Any]], cut: int | None = None) -> int:
    """Bytes that were sent, over two pipes; -1 when the connection was cut."""
    (down_in, down_out), (up_in, up_out) = os.pipe(), os.pipe()
    failed: list[BaseException] = []

    def other_end() -> None:
        with os.fdopen(down_in, "rb") as source, os.fdopen(up_out, "wb") as sink:
            try:
                handover.receive(there, content, source, sink)
            except (ArtifactError, OSError) as error:
                failed.append(error)

    thread = threading.Thread(target=other_end)
    thread.start()
    source, sink = os.fdopen(up_in, "rb"), os.fdopen(down_out, "wb")
    try:
        return handover.send(here, plans, content, source, Cut(sink, cut) if cut else sink, "w1")  # type: ignore[arg-type]
    except BrokenPipeError:
        return -1
    finally:
        sink.close()
        thread.join()
        source.close()
        assert bool(failed) == bool(cut) or not cut


def test_what_is_lacking_arrives_and_is_not_sent_again(tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here"), Store(tmp_path / "there")
    assert 300_000 < hand(here, there, [plan("tiny/onnx-int4")]) < 400_000
    assert there.digests() == {"tiny/onnx-int4": here.digest("tiny/onnx-int4")}
    assert there.verify("tiny/onnx-int4")
    assert hand(here, there, [plan("tiny/onnx-int4")]) == 0
    assert hand(here, there, [plan("tiny/onnx-int4"), plan("tiny/gguf-q4_0")]) < 100_000
    assert there.digests() == here.digests()
    assert not list((tmp_path / "there" / "partial").iterdir())


def test_a_transfer_that_broke_off_goes_on_there(tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here"), Store(tmp_path / "there")
    assert hand(here, there, [plan("tiny/onnx-int4")], cut=250_000) == -1
    assert there.digests() == {}
    assert hand(here, there, [plan("tiny/onnx-int4")]) < 150_000
    assert there.verify("tiny/onnx-int4")


def test_a_damaged_part_is_found_and_begun_anew(tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here"), Store(tmp_path / "there")
    hand(here, there, [plan("tiny/onnx-int4")], cut=250_000)
    (part,) = (tmp_path / "there" / "partial").iterdir()
    part.write_bytes(part.read_bytes()[:-1] + b"\0" if part.read_bytes()[-1] else part.read_bytes()[:-1] + b"\1")
    with pytest.raises(ArtifactError, match=r"w1: .*was changed or cut off"):
        hand(here, there, [plan("tiny/onnx-int4")])
    assert there.digests() == {}
    assert hand(here, there, [plan("tiny/onnx-int4")]) > 300_000
    assert there.verify("tiny/onnx-int4")


def test_a_file_that_is_damaged_here_is_not_handed_on(tmp_path: Path) -> None:
    here, there = filled(tmp_path / "here"), Store(tmp_path / "there")
    (here.path(here.digest("tiny/onnx-int4")) / "model.data").write_bytes(os.urandom(300_000))
    with pytest.raises(ArtifactError, match="is damaged"):
        hand(here, there, [plan("tiny/onnx-int4")])
    assert there.digests() == {}


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"lacking": 5, "from": 0}', b'{"lacking": [], "from": null}', b'{"lacking": []}']
)
def test_an_answer_that_is_none_is_told_and_no_fault_of_ours(tmp_path: Path, answer: bytes) -> None:
    source, sink = io.BytesIO(answer + b"\n"), io.BytesIO()
    with pytest.raises(ArtifactError, match="w1 sent something that is not part of a transfer"):
        handover.send(filled(tmp_path), [plan("tiny/onnx-int4")], content, source, sink, "w1")
