"""Artifacts with executables and symbolic links: kept as they are, verified, and never a way out of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import manifest as core_manifest
from phi4_edge.core.manifest import Link
from phi4_edge.errors import ArtifactError

NAME = "ollama/0.35.0-x86_64-cpu"


def grow(folder: Path) -> None:
    """A tree as a release archive has it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "bin" / "engine").write_bytes(b"\x7fELF")
    (folder / "bin" / "engine").chmod(0o755)
    (folder / "lib" / "libx.so.1").write_bytes(b"library")
    (folder / "lib" / "libx.so").symlink_to("libx.so.1")
    (folder / "current").symlink_to("lib")


def keep(store: Store) -> str:
    with store.workspace("tree") as work:
        grow(work / "tree")
        files, links = manifest.describe_tree(work / "tree")
        return store.adopt(work / "tree", Manifest(NAME, files, "MIT", links=links))


def test_executables_and_links_come_through_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.path(keep(store))
    assert (folder / "bin" / "engine").stat().st_mode & 0o777 == 0o755
    assert (folder / "lib" / "libx.so.1").stat().st_mode & 0o777 == 0o644
    assert (folder / "lib" / "libx.so").readlink() == Path("libx.so.1")
    found = store.verify(NAME)
    assert found.links == (Link("current", "lib"), Link("lib/libx.so", "libx.so.1"))
    assert {entry.path: entry.mode for entry in found.files} == {"bin/engine": "0755", "lib/libx.so.1": "0644"}
    text = (folder / "manifest.json").read_text()
    files, links = core_manifest.manifest(text, found.digest)
    assert core_manifest.digest(files, links) == found.digest == folder.name


def test_a_link_that_points_elsewhere_now_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.path(keep(store))
    (folder / "lib" / "libx.so").unlink()
    (folder / "lib" / "libx.so").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match=r"libx\.so: found /etc/passwd, needed a link to libx\.so\.1"):
        store.verify(NAME)


def test_modes_and_links_count_in_the_digest_and_their_absence_does_not() -> None:
    plain = (core_manifest.File("a", 1, "f" * 64),)
    executable = (core_manifest.File("a", 1, "f" * 64, "0755"),)
    digests = {
        core_manifest.digest(plain),
        core_manifest.digest(executable),
        core_manifest.digest(plain, (Link("b", "a"),)),
    }
    assert len(digests) == 3
    assert core_manifest.digest(plain) == core_manifest.digest(plain, ())


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "lib/../../x", ".", "", "a//b", "x\ny", ".."])
def test_a_link_that_leaves_is_refused(target: str) -> None:
    lines = [{"path": "a", "size": 1, "sha256": "f" * 64}]
    document: dict[str, Any] = {
        "format": core_manifest.FORMAT,
        "files": lines,
        "links": [{"path": "b", "target": target}],
    }
    with pytest.raises(ArtifactError, match="cannot be used"):
        core_manifest.manifest(json.dumps(document), None)
    with pytest.raises(ArtifactError):
        Manifest.from_dict({**document, "artifact": NAME, "digest": "0" * 64}, "here")


def test_a_file_below_a_link_is_refused() -> None:
    with pytest.raises(ValueError, match="lies below a link"):
        core_manifest.check_links([Link("lib", "other")], ["lib/x"])
    with pytest.raises(ValueError, match="name of something else"):
        core_manifest.check_links([Link("lib", "other")], ["lib"])


def test_a_link_out_of_a_folder_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(ArtifactError, match="only links that stay inside"):
        manifest.describe_tree(tmp_path)


def test_any_other_mode_is_refused() -> None:
    line = {"path": "a", "size": 1, "sha256": "f" * 64, "mode": "4755"}
    with pytest.raises(ArtifactError, match="mode '4755'"):
        core_manifest.manifest(json.dumps({"format": core_manifest.FORMAT, "files": [line]}), None)
    with pytest.raises(ArtifactError, match="mode '4755'"):
        Manifest.from_dict({"format": manifest.FORMAT, "artifact": NAME, "files": [line]}, "here")
