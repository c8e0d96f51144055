"""Layers made here: the same content is the same bytes, wheels land where pip would put them, and nothing escapes."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from phi4_edge.artifacts.images import build, oci
from phi4_edge.artifacts.images.oci import Item
from phi4_edge.errors import ArtifactError

SITE = "opt/phi4-edge/engine/lib/python3.13/site-packages"


def item(path: str, data: bytes = b"x", executable: bool = False) -> Item:
    return Item(path, lambda: io.BytesIO(data), len(data), executable)


def wheel(folder: Path, name: str, files: dict[str, bytes], mode: int = 0o644) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            info = zipfile.ZipInfo(member)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def placed(folder: Path) -> dict[str, bytes]:
    found = {}
    for one in build.wheel_items(folder, "3.13"):
        assert one.read is not None
        with one.read() as stream:
            found[one.path] = stream.read()
        assert len(found[one.path]) == one.size
    return found


def test_order_and_place_of_making_do_not_change_a_layer(tmp_path: Path) -> None:
    items = [item("b/two", b"2"), item("a", b"1"), Item("b/link", target="two"), item("b/run", b"#!", executable=True)]
    made = []
    for number, order in enumerate((items, items[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.append(oci.write_layer(order, folder, "application/x"))
        assert [path.name for path in folder.iterdir()] == ["blobs"]
    assert made[0] == made[1]
    with tarfile.open(tmp_path / "0" / made[0][0].path) as archive:
        members = {member.name: member for member in archive}
    assert list(members) == ["a", "b", "b/link", "b/run", "b/two"]
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {
        (0, 0, "", 315532800)
    }
    modes = {name: oct(member.mode) for name, member in members.items()}
    assert modes == {"a": "0o644", "b": "0o755", "b/link": "0o777", "b/run": "0o755", "b/two": "0o644"}
    assert members["b/link"].linkname == "two"


def test_the_blob_is_named_by_its_bytes_and_the_diff_id_by_its_content(tmp_path: Path) -> None:
    import gzip
    import hashlib

    blob, diff_id = oci.write_layer([item("a", b"1" * 5000)], tmp_path, "application/x")
    raw = (tmp_path / blob.path).read_bytes()
    assert (blob.size, blob.digest) == (len(raw), "sha256:" + hashlib.sha256(raw).hexdigest())
    assert diff_id == "sha256:" + hashlib.sha256(gzip.decompress(raw)).hexdigest()


def test_names_longer_than_old_archives_take_arrive_whole(tmp_path: Path) -> None:
    long = "/".join(["folder" * 10] * 5) + "/ünïcode"
    blob, _diff_id = oci.write_layer([item(long)], tmp_path, "application/x")
    with tarfile.open(tmp_path / blob.path) as archive:
        assert archive.getnames()[-1] == long


def test_wheels_are_placed_as_pip_places_them(tmp_path: Path) -> None:
    wheel(tmp_path / "w", "one", {
        "one/__init__.py": b"1", "one.libs/lib.so": b"2", "one-1.0.dist-info/RECORD": b"3",
        "one-1.0.data/purelib/pure.py": b"4", "one-1.0.data/platlib/plat.so": b"5",
        "one-1.0.data/data/share/x": b"6", "one-1.0.data/scripts/tool": b"7", "one-1.0.data/headers/x.h": b"8",
    })  # fmt: skip
    wheel(tmp_path / "w", "pip", {"pip/__init__.py": b""})
    assert placed(tmp_path / "w") == {
        f"{SITE}/one/__init__.py": b"1", f"{SITE}/one.libs/lib.so": b"2", f"{SITE}/one-1.0.dist-info/RECORD": b"3",
        f"{SITE}/pure.py": b"4", f"{SITE}/plat.so": b"5", "opt/phi4-edge/engine/share/x": b"6",
    }  # fmt: skip


def test_a_member_that_may_be_executed_stays_so(tmp_path: Path) -> None:
    wheel(tmp_path / "w", "one", {"one/tool": b"1"}, mode=0o755)
    assert [one.executable for one in build.wheel_items(tmp_path / "w", "3.13")] == [True]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "one-1.0.data/purelib/../../x", "a\\b"])
def test_a_wheel_with_a_name_that_leaves_its_place_is_refused(tmp_path: Path, name: str) -> None:
    wheel(tmp_path / "w", "one", {name: b"1"})
    with pytest.raises(ArtifactError, match="not a plain relative file name"):
        list(build.wheel_items(tmp_path / "w", "3.13"))


def test_unknown_ways_to_install_and_double_files_are_refused(tmp_path: Path) -> None:
    wheel(tmp_path / "w", "one", {"one-1.0.data/strange/x": b"1"})
    with pytest.raises(ArtifactError, match="in a way that is not known here"):
        list(build.wheel_items(tmp_path / "w", "3.13"))
    for name in ("a", "b"):
        wheel(tmp_path / "v", name, {"same.py": b"1"})
    with pytest.raises(ArtifactError, match=r"both bring .*same\.py"):
        list(build.wheel_items(tmp_path / "v", "3.13"))


def test_a_blob_that_another_image_shares_keeps_its_bytes_while_it_is_written_again(tmp_path: Path) -> None:
    """The store links equal blobs, and another command may read them: no file is written into."""
    first, second = tmp_path / "first", tmp_path / "second"
    blob = oci.write_blob(first, "application/x", b"layer")
    (second / blob.path).parent.mkdir(parents=True)
    (second / blob.path).hardlink_to(first / blob.path)
    with (first / blob.path).open("rb") as reading:
        assert oci.write_blob(second, "application/x", b"layer") == blob
        assert reading.read() == b"layer"
    assert (first / blob.path).stat().st_ino != (second / blob.path).stat().st_ino
    assert [path.name for path in (second / blob.path).parent.iterdir()] == [blob.digest.removeprefix("sha256:")]
