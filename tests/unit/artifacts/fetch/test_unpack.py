"""Unpacking what somebody else packed: nothing is written outside of the folder, and nothing but files and links."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from phi4_edge.artifacts.fetch import unpack as fetch_unpack
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.fetch.ollama_archive import archive, entry, packed


def unpack(folder: Path, content: bytes, limit: int = 1000) -> Path:
    file = folder / "release.tar.zst"
    file.write_bytes(content)
    target = folder / "tree"
    target.mkdir()
    fetch_unpack.unpack(file, target, lambda name: not name.startswith("skip"), limit)
    return target


def test_files_folders_links_and_hard_links(tmp_path: Path) -> None:
    content = packed(
        (entry("./", kind=tarfile.DIRTYPE, mode=0o755), b""),
        (entry("./bin/", kind=tarfile.DIRTYPE, mode=0o700), b""),
        (entry("./bin/run", 3, mode=0o4755), b"run"),
        (entry("./bin/same", kind=tarfile.LNKTYPE, link="./bin/run"), b""),
        (entry("link", kind=tarfile.SYMTYPE, link="bin/run"), b""),
        (entry("skip/huge", 5), b"12345"),
    )
    tree = unpack(tmp_path, content, limit=3)
    assert (tree / "bin" / "same").read_bytes() == b"run"
    assert (tree / "bin" / "run").stat().st_mode & 0o7777 == 0o755
    assert (tree / "link").readlink() == Path("bin/run")
    assert not (tree / "skip").exists()


@pytest.mark.parametrize(
    ("name", "kind", "link", "message"),
    [
        ("../out", tarfile.REGTYPE, "", "not a plain relative file name"),
        ("/etc/out", tarfile.REGTYPE, "", "not a plain relative file name"),
        ("a/../../out", tarfile.REGTYPE, "", "not a plain relative file name"),
        ("device", tarfile.CHRTYPE, "", "neither file, folder nor link"),
        ("pipe", tarfile.FIFOTYPE, "", "neither file, folder nor link"),
        ("hard", tarfile.LNKTYPE, "/etc/passwd", "not a plain relative file name"),
        ("hard", tarfile.LNKTYPE, "not/there", "which is not in the archive"),
    ],
)
def test_a_member_that_leaves_or_is_no_file_is_refused(
    name: str, kind: bytes, link: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack(tmp_path, packed((entry(name, kind=kind, link=link), b"")))
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    content = packed(
        (entry("way", kind=tarfile.SYMTYPE, link=str(tmp_path)), b""), (entry("way/out", 4), b"evil"),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="lies below a link"):
        unpack(tmp_path, content)
    assert not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="more than 1000 bytes"):
        unpack(tmp_path, archive({"a": b"x" * 900, "b": b"x" * 900}, {}))


@pytest.mark.parametrize("keep", [0, 10, 60, 120])
def test_a_cut_archive_is_refused(keep: int, tmp_path: Path) -> None:
    import random

    content = archive({"a": random.Random(4).randbytes(900)}, {})
    with pytest.raises(ArtifactError, match=r"is not a \.tar\.zst archive"):
        unpack(tmp_path, content[:keep])


def test_links_to_what_was_left_out_go_and_empty_folders_too(tmp_path: Path) -> None:
    tree = unpack(tmp_path, archive({"a/file": b"x", "skip/y": b"y"}, {"b/gone": "../skip/y", "b/good": "../a/file"}))
    fetch_unpack.drop_dangling(tree)
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*")) == ["a", "a/file", "b", "b/good"]
