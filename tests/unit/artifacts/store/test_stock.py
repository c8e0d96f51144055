"""What lies in a store is listed, and taken out whole: beside processes that use it, and under kills."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi4_edge.artifacts.store import stock, use
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.stock import Item
from phi4_edge.artifacts.store.store import Store
from phi4_edge.artifacts.store.use import alone
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.sample import ROOT, leftovers, put, run_python

OLD = 1_600_000_000
WHEELS = "wheelhouses/0123456789abcdef-cp313-x86_64"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def folder(store: Store, path: str, size: int = 5, touched: int = OLD) -> Path:
    """A thing of the store that is only a folder with a file."""
    made = store.root / path
    made.mkdir(parents=True)
    (made / "file").write_bytes(b"x" * size)
    os.utime(made / "file", (touched, touched))
    return made


def only(store: Store, kind: str) -> Item:
    [found] = [item for item in stock.stock(store) if item.kind == kind]
    return found


def test_a_store_that_is_not_there_holds_nothing(store: Store) -> None:
    assert stock.stock(store) == []
    assert not store.root.exists()


def test_everything_is_listed_once_with_its_size_and_age(store: Store) -> None:
    digest = put(store)
    assert put(store, "other/onnx-int4") == digest
    folder(store, WHEELS, 7)
    folder(store, "environments/converter-1", 8)
    folder(store, "partial/ollama-0.35.0", 9)
    (store.root / "partial" / "a-link").symlink_to("/etc")
    folder(store, "tmp/discarded-1", 11)
    found = {item.kind: item for item in stock.stock(store)}
    assert list(found) == ["model", "wheelhouse", "environment", "download", "leftover"]
    assert found["model"].names == ("other/onnx-int4", "tiny/onnx-int4")
    assert found["model"].path == f"artifacts/{digest}"
    assert [found[kind].size for kind in ("wheelhouse", "environment", "download", "leftover")] == [7, 8, 9, 11]
    assert found["download"].touched == OLD


def test_a_file_that_two_share_counts_once(store: Store) -> None:
    first = folder(store, "environments/a", 1000)
    (store.root / "environments" / "b").mkdir()
    os.link(first / "file", store.root / "environments" / "b" / "file")
    assert sum(item.size for item in stock.stock(store)) == 1000


def test_what_is_removed_is_gone_with_all_its_names(store: Store) -> None:
    put(store)
    put(store, "other/onnx-int4")
    put(store, "third/onnx-int4", {"a": b"a"})
    shared = next(item for item in stock.stock(store) if len(item.names) == 2)
    assert stock.remove(store, shared) == ""
    assert list(store.digests()) == ["third/onnx-int4"]
    assert leftovers(store) == []
    assert stock.remove(store, shared) == ""  # by another process, meanwhile


def test_the_pin_of_a_registrys_image_outlives_it_and_ours_does_not(store: Store) -> None:
    digest = "sha256:" + "a" * 64
    line = {"digest": digest, "id": digest, "path": f"images/{'a' * 64}", "size": 5, "reference": "r:1"}
    images = Images(store)
    images.pin("docker.io/ollama/ollama:1/amd64", line)
    images.pin("phi4-edge/onnx:1/amd64", line)
    folder(store, f"images/{'a' * 64}")
    found = only(store, "image")
    assert found.names == ("docker.io/ollama/ollama:1/amd64", "phi4-edge/onnx:1/amd64")
    assert stock.remove(store, found) == ""
    assert images.index() == {"docker.io/ollama/ollama:1/amd64": {**line, "path": ""}}
    assert not images.path(digest).exists()


def test_what_was_made_anew_meanwhile_stays(store: Store) -> None:
    made = folder(store, WHEELS)
    found = only(store, "wheelhouse")
    os.utime(made / "file", (OLD + 1, OLD + 1))
    assert stock.remove(store, found) == "it was made anew meanwhile"
    assert made.is_dir()


HOLDER = """
import sys
from pathlib import Path
from phi4_edge.artifacts.store.store import Store
store = Store(Path(sys.argv[1]))
store.hold(*sys.argv[2].split("/"))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(store: Store, path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the thing at `path`."""
    with subprocess.Popen(
        run_python(HOLDER, store.root, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


@pytest.mark.parametrize("path", [WHEELS, "environments/converter-1", "partial/ollama-0.35.0"])
def test_what_another_process_uses_stays_until_that_is_dead(store: Store, path: str) -> None:
    made = folder(store, path)
    [found] = stock.stock(store)
    with holder(store, path), holder(store, path):
        assert stock.remove(store, found) == "another process uses it"
        assert (made / "file").exists()
    assert stock.remove(store, found) == ""
    assert not made.exists()
    assert not list((store.root / "locks").glob("use-*"))


def test_an_artifact_that_a_run_has_checked_stays_while_the_run_lives(store: Store) -> None:
    digest = put(store)
    run = Store(store.root)
    assert run.use("tiny/onnx-int4") == digest
    assert run.use("nothing/onnx-int4") is None
    found = only(store, "model")
    assert stock.remove(store, found) == "another process uses it"
    del run
    assert stock.remove(store, found) == ""


WAITER = """
import sys
from pathlib import Path
from phi4_edge.artifacts.store.store import Store
print(Store(Path(sys.argv[1])).use("tiny/onnx-int4"), flush=True)
"""


def waits(pid: int) -> bool:
    """Whether a process waits for a lock, as the kernel says."""
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_who_needs_a_thing_while_it_is_removed_finds_it_gone(store: Store) -> None:
    """Between looking and holding lies the removal: what was there a moment ago is not taken for there."""
    digest = put(store)
    with alone(store.root, f"artifacts/{digest}") as free:
        assert free
        other = subprocess.Popen(run_python(WAITER, store.root), stdout=subprocess.PIPE, text=True)
        while not waits(other.pid):
            assert other.poll() is None
        with store.exclusive():
            store.forget(digest)
            store.discard(store.root / "artifacts" / digest)
    assert other.communicate(timeout=60)[0] == "None\n"
    assert other.returncode == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_store_that_may_only_be_read_is_used_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    digest = put(store)
    monkeypatch.setattr(use, "_locked", refusing(number))
    assert Store(store.root).use("tiny/onnx-int4") == digest


def test_a_disk_without_room_for_a_lock_names_the_setting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "_locked", refusing(errno.ENOSPC))
    with pytest.raises(ArtifactError, match="PHI4_EDGE_STORE"):
        store.hold("wheelhouses", "x")


def refusing(number: int) -> Callable[..., None]:
    def refused(*_: object) -> None:
        raise OSError(number, "refused")

    return refused


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from phi4_edge.artifacts.store import files, stock
from phi4_edge.artifacts.store.store import Store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "erase": files.erase = die
if sys.argv[2] == "rename": Store.discard = die
store = Store(Path(sys.argv[1]))
for item in stock.stock(store):
    stock.remove(store, item)
"""


@pytest.mark.parametrize("place", ["rename", "erase"])
def test_a_kill_while_removing_leaves_nothing_half_and_the_next_run_ends_it(store: Store, place: str) -> None:
    put(store)
    made = folder(store, WHEELS)
    ended = subprocess.run(run_python(KILLED, store.root, place, ROOT), check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert (made / "file").exists()
    folders = list((store.root / "artifacts").iterdir())
    assert all((path / "manifest.json").is_file() and (path / "nested" / "part").is_file() for path in folders)
    assert store.digests() == {}
    for item in stock.stock(store):
        assert stock.remove(store, item) == ""
    assert stock.stock(store) == []
    assert leftovers(store) == []
