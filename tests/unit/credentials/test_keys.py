"""Keys are made here, and no file has one."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi4_edge.core.gateway.key_map import MOST, Key, key_map
from phi4_edge.core.gateway.keys_file import encode
from phi4_edge.credentials.keys import KeysFile, beside
from phi4_edge.errors import InventoryError, PreflightError


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path / "gateway-keys.txt")


def test_a_key_is_in_no_file_and_its_digest_is_in_the_map(file: KeysFile) -> None:
    token = file.add("north", 60, "2027-01-31", 2, 10_000)
    assert len(token) == 47
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    for path in file.path.parent.iterdir():
        assert token[4:] not in path.read_text()
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert key_map(file.read()) == f"{digest} north:60:1801440000:2:10000\n"


def test_keys_are_never_the_same(file: KeysFile) -> None:
    assert len({file.add(f"k{number}") for number in range(50)}) == 50


def test_a_name_is_given_once_until_it_is_revoked(file: KeysFile) -> None:
    first = file.add("north")
    with pytest.raises(PreflightError, match="found a key called north"):
        file.add("north")
    file.revoke("north")
    assert file.read() == ()
    assert file.add("north") != first


def test_who_is_not_there_is_not_revoked(file: KeysFile) -> None:
    with pytest.raises(PreflightError, match="needed one of: none"):
        file.revoke("north")
    file.add("north")
    with pytest.raises(PreflightError, match=r"did you mean north\?"):
        file.revoke("nroth")
    assert len(file.read()) == 1


@pytest.mark.parametrize("name", ["", "North", "a b", "a\nb", "x" * 64])
def test_a_name_that_cannot_be_makes_no_file(file: KeysFile, name: str) -> None:
    with pytest.raises(ValueError, match="the key's name"):
        file.add(name)
    assert not file.path.exists()


def test_many_at_a_time_lose_no_key(file: KeysFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = [*pool.map(lambda number: file.add(f"k{number}"), range(24))]
    assert {key.digest for key in file.read()} == {hashlib.sha256(one.encode()).hexdigest() for one in tokens}


def test_a_full_file_is_said_and_stays(file: KeysFile) -> None:
    full = encode(Key(f"k{number}", f"{number:064x}") for number in range(MOST))
    file.path.write_text(full)
    file.path.chmod(0o600)
    with pytest.raises(PreflightError, match=f"found {MOST + 1} keys, needed at most {MOST}: revoke some"):
        file.add("north")
    assert file.path.read_text() == full


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_not_believed(file: KeysFile, mode: int) -> None:
    file.add("north")
    file.path.chmod(mode)
    for what in (file.read, lambda: file.add("south"), lambda: file.revoke("north")):
        with pytest.raises(PreflightError, match="may be written by others"):
            what()


def test_a_link_a_folder_and_a_damaged_file_are_refused(file: KeysFile, tmp_path: Path) -> None:
    file.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PreflightError, match="cannot be used"):
        file.read()
    file.path.unlink()
    file.path.mkdir(mode=0o700)
    with pytest.raises(PreflightError, match="is no file"):
        file.read()
    file.path.rmdir()
    file.path.write_text("north\n")
    file.path.chmod(0o600)
    with pytest.raises(PreflightError, match=r"cannot be used .*the first line"):
        file.add("south")
    assert file.path.read_text() == "north\n"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="cannot be written"):
        KeysFile(tmp_path / "file" / "keys.txt").add("north")


def test_keys_lie_beside_the_inventory(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "gateways.ini").write_text("")
    assert beside(str(folder / "gateways.ini")) == folder / "gateway-keys.txt"
    assert beside(str(folder)) == tmp_path / "gateway-keys.txt"
    with pytest.raises(InventoryError, match="found a list of hosts"):
        beside("gw1,gw2,")
