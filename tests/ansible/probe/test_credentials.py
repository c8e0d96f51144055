"""What a host says of what lets clients in at its gateway: digests of files of its owner's alone, and no content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from phi4_edge.core.credentials import read
from tests.ansible.host_scripts import load

credentials = load("probe", "credentials")
FILES = {"keys.map": "keys", "certificate.pem": "certificate", "clients-ca.pem": "client_ca"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gateway's folder with all files."""
    found = tmp_path / "state" / "gateway"
    found.mkdir(parents=True)
    for name, text in {**{name: f"secret of {name}" for name in FILES}, "credentials.json": "{}"}.items():
        (found / name).write_text(text)
        (found / name).chmod(0o600)
    return found


def told(folder: Path) -> dict[str, str]:
    text = credentials.told("/state", str(folder.parents[1]))
    assert "secret" not in text and read(text) is not None
    found: dict[str, str] = json.loads(text)
    return found


def test_each_file_is_told_by_its_digest(folder: Path) -> None:
    digests = {FILES[name]: hashlib.sha256(f"secret of {name}".encode()).hexdigest() for name in FILES}
    assert told(folder) == {**digests, "note": "{}"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["gone", "others may read it", "a link", "a folder", "empty", "too large"])
def test_what_is_not_its_owners_alone_is_not_there(folder: Path, name: str, how: str) -> None:
    file = folder / name
    if how == "others may read it":
        file.chmod(0o640)
    elif how == "empty":
        file.write_text("")
    elif how == "too large":
        file.write_bytes(b"x" * (credentials.FILE_LIMIT + 1))
    else:
        file.unlink()
    if how == "a link":
        file.symlink_to(folder / "credentials.json")
    elif how == "a folder":
        file.mkdir()
    found = told(folder)
    assert [one for one in FILES.values() if not found[one]] == [FILES[name]]


def test_a_host_without_a_gateway_has_none(tmp_path: Path) -> None:
    with pytest.raises(credentials.Gap, match="no gateway"):
        credentials.told("/state", str(tmp_path))
