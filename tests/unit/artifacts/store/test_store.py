"""The store stays whole: under damage, under two writers, under kills, under hostile names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store, default_root
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.sample import FILES, ROOT, leftovers, put, run_python

ARTIFACT = "tiny/onnx-int4"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_new_store_is_empty_and_reading_it_creates_nothing(store: Store) -> None:
    assert store.index() == {}
    assert store.digests() == {}
    assert not store.root.exists()


def test_an_adopted_artifact_is_named_by_its_content(store: Store) -> None:
    digest = put(store)
    folder = store.path(digest)
    printed = subprocess.run(
        ["sha256sum", *sorted(FILES)], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    lines = "".join(sorted(printed.splitlines(keepends=True)))
    assert (
        digest
        == subprocess.run(["sha256sum"], input=lines, capture_output=True, text=True, check=True).stdout.split()[0]
    )
    entry = store.index()[ARTIFACT]
    assert entry == {"digest": digest, "path": f"artifacts/{digest}", "size": 3401, "files": 3}
    assert store.verify(ARTIFACT).to_dict()["digest"] == digest
    assert leftovers(store) == []


def test_files_are_readable_for_all_and_writable_for_the_owner_only(store: Store) -> None:
    folder = store.path(put(store))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.rglob("*")}
    assert modes.pop("nested") == "0o755"
    assert set(modes) == {"model.onnx", "genai_config.json", "part", "manifest.json"}
    assert set(modes.values()) == {"0o644"}


def test_truncation_is_found_without_hashing_and_names_the_file(store: Store) -> None:
    folder = store.path(put(store))
    os.truncate(folder / "model.onnx", 100)
    with pytest.raises(ArtifactError, match=r"model\.onnx: 100 bytes, needed 2400") as error:
        store.verify(ARTIFACT, deep=False)
    assert "model remove tiny/onnx-int4" in str(error.value)
    assert error.value.exit_code == 3


def test_a_flipped_bit_is_found_by_hashing_only(store: Store) -> None:
    folder = store.path(put(store))
    content = bytearray((folder / "nested/part").read_bytes())
    content[500] ^= 1
    (folder / "nested/part").write_bytes(content)
    assert store.damage(ARTIFACT, deep=False) == ()
    assert len(store.damage(ARTIFACT, deep=True)) == 1
    with pytest.raises(ArtifactError, match=r"nested/part: sha256 .*, needed"):
        store.verify(ARTIFACT)


def test_every_damaged_file_is_named(store: Store) -> None:
    folder = store.path(put(store))
    (folder / "genai_config.json").unlink()
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/hostname")
    assert [problem.split(":")[0].rsplit("/", 1)[1] for problem in store.damage(ARTIFACT)] == [
        "genai_config.json",
        "model.onnx",
    ]


def test_a_manifest_that_was_edited_with_its_file_is_found(store: Store) -> None:
    folder = store.path(put(store))
    (folder / "genai_config.json").write_bytes(b"[]")
    changed = Manifest(ARTIFACT, manifest.describe(folder), "Apache-2.0")
    (folder / "manifest.json").write_text(json.dumps(changed.to_dict()))
    with pytest.raises(ArtifactError, match="manifest"):
        store.verify(ARTIFACT)


def test_an_incomplete_folder_is_not_adopted(store: Store) -> None:
    with store.workspace("test") as work, pytest.raises(ArtifactError, match="missing"):
        (work / "output").mkdir()
        store.adopt(work / "output", Manifest(ARTIFACT, (FileEntry("a", 1, "0" * 64),), "MIT"))
    assert store.index() == {}


def test_making_it_again_heals_a_damaged_artifact(store: Store) -> None:
    digest = put(store)
    os.truncate(store.path(digest) / "model.onnx", 0)
    assert put(store) == digest
    assert store.damage(ARTIFACT) == ()
    assert leftovers(store) == []


def test_equal_content_is_kept_once_and_goes_with_its_last_name(store: Store) -> None:
    digest = put(store)
    assert put(store, "other/onnx-int4") == digest
    assert store.remove(ARTIFACT) == 0
    assert store.path(digest).is_dir()
    assert store.remove("other/onnx-int4") == 3401
    assert not (store.root / "artifacts" / digest).exists()
    with pytest.raises(ArtifactError, match="not in"):
        store.remove(ARTIFACT)


def test_what_a_name_stood_for_before_is_not_kept(store: Store) -> None:
    first = put(store)
    second = put(store, files={"model.onnx": b"newer"})
    assert store.digests() == {ARTIFACT: second}
    assert not (store.root / "artifacts" / first).exists()


def test_a_broken_index_is_made_again_from_the_manifests(store: Store) -> None:
    digest = put(store)
    for text in ("{", "[]", '{"format": "phi4-edge/index/1", "artifacts": {"tiny/onnx-int4": {"digest": "../x"}}}'):
        store.index_path.write_text(text)
        assert store.digests() == {ARTIFACT: digest}


def test_an_index_cannot_lead_out_of_the_store(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entry = {"digest": "../../outside", "path": "artifacts/../../outside", "size": 1, "files": 1}
    store.root.mkdir()
    store.index_path.write_text(json.dumps({"format": "phi4-edge/index/1", "artifacts": {ARTIFACT: entry}}))
    with pytest.raises(ArtifactError):
        store.remove(ARTIFACT)
    assert outside.is_dir()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "a/../b", "./a", "", "a\nb", "a\\b", "a\x1b[2J", "a/"])
def test_hostile_file_names_are_refused(name: str) -> None:
    document = Manifest(ARTIFACT, (FileEntry("ok", 1, "0" * 64),), "MIT").to_dict()
    document["files"][0]["path"] = name
    with pytest.raises(ArtifactError, match="plain relative"):
        Manifest.from_dict(document, "manifest")


@pytest.mark.parametrize("artifact", ["tiny", "../x/y", "a/b/c", "", "A/b", "tiny/", "-x/y", "a/" + "b" * 99])
def test_hostile_artifact_ids_are_refused(artifact: str, store: Store) -> None:
    with pytest.raises(ArtifactError):
        put(store, artifact)
    assert store.index() == {}
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"files": []}, {"files": "x"}, {"files": [{"path": "a"}]}, {"digest": "0" * 64},
        {"files": [{"path": "a", "size": -1, "sha256": "0" * 64}]},
        {"files": [{"path": "a", "size": True, "sha256": "0" * 64}]},
        {"source": []}, {"artifact": 5}, {"files": [{"path": "a", "size": 1, "sha256": "0" * 64}] * 2},
    ],
)  # fmt: skip
def test_malformed_manifests_are_refused(change: dict[str, object]) -> None:
    document = Manifest(ARTIFACT, (FileEntry("a", 1, "0" * 64),), "MIT").to_dict() | change
    with pytest.raises(ArtifactError):
        Manifest.from_dict(document, "manifest")


def test_links_and_special_files_are_not_content(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="neither a plain file"):
        manifest.describe(tmp_path)
    (tmp_path / "link").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="neither a plain file"):
        manifest.describe(tmp_path)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.unit.artifacts.sample import put
from phi4_edge.artifacts.store.store import Store
for number in range(12):
    put(Store(Path(sys.argv[1])), f"m{sys.argv[2]}-{number}/onnx-int4", {"file": f"{sys.argv[2]} {number}".encode()})
"""


def test_two_processes_write_the_same_store(store: Store) -> None:
    writers = [subprocess.Popen(run_python(WRITER, store.root, name, ROOT)) for name in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert len(store.digests()) == 24
    assert not any(store.damage(artifact) for artifact in store.digests())
    assert leftovers(store) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.unit.artifacts.sample import put
from phi4_edge.artifacts.store import files
from phi4_edge.artifacts.store.store import Store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
place = sys.argv[2]
if place == "rename": Path.rename = die
if place == "sync": files.sync_tree = die
if place == "index": Store._write_index = die
put(Store(Path(sys.argv[1])), "tiny/onnx-int4")
"""


@pytest.mark.parametrize("place", ["sync", "rename", "index"])
def test_a_kill_while_adopting_leaves_no_half_artifact(store: Store, place: str) -> None:
    put(store, "other/onnx-int4", {"a": b"a"})
    ended = subprocess.run(run_python(KILLED, store.root, place, ROOT), check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert list(store.digests()) == ["other/onnx-int4"]
    put(store)  # the next run
    assert sorted(store.digests()) == ["other/onnx-int4", ARTIFACT]
    assert store.damage(ARTIFACT) == ()
    assert leftovers(store) == []


def test_work_of_a_living_process_is_not_taken_for_a_leftover(store: Store) -> None:
    with store.workspace("first") as first:
        (first / "file").touch()
        with store.workspace("second"):
            assert (first / "file").exists()
        assert (first / "file").exists()
    assert leftovers(store) == []


def test_a_workspace_is_gone_after_an_interrupt(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.workspace("test") as work:
        (work / "file").touch()
        raise KeyboardInterrupt
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PHI4_EDGE_STORE": "/x/y", "XDG_DATA_HOME": "/z"}, "/x/y"),
        ({"XDG_DATA_HOME": "/z"}, "/z/phi4-edge/store"),
        ({}, str(Path.home() / ".local/share/phi4-edge/store")),
    ],
)
def test_where_the_store_is(environment: dict[str, str], expected: str) -> None:
    assert str(default_root(environment)) == expected


def test_a_store_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(ArtifactError, match=r"cannot be used: .*PHI4_EDGE_STORE"):
        put(store)
    with pytest.raises(ArtifactError, match="cannot be used"):
        store.index()


def test_a_full_disk_leaves_nothing_and_is_no_bug(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("phi4_edge.artifacts.store.files.sync_tree", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        put(store)
    assert store.index() == {}
    assert leftovers(store) == []
