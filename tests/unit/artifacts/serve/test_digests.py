"""What the pieces of a file hash to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from phi4_edge.artifacts.serve import digests
from phi4_edge.artifacts.serve.digests import Digests
from phi4_edge.errors import ArtifactError

DATA = bytes(range(256)) * 100
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "PIECE_BYTES", 10_000)
    (tmp_path / "weights").write_bytes(DATA)
    return tmp_path / "weights"


def test_each_piece_has_its_hash_and_a_second_run_reads_nothing(file: Path) -> None:
    found = Digests(file.parent).of(file, SHA, len(DATA))
    assert found == tuple(hashlib.sha256(DATA[at : at + 10_000]).hexdigest() for at in (0, 10_000, 20_000))
    file.unlink()
    assert Digests(file.parent).of(file, SHA, len(DATA)) == found


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b"x" + DATA[1:], b""])
def test_a_file_of_other_content_has_no_list(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="not what its manifest says"):
        Digests(file.parent).of(file, SHA, len(DATA))
    assert not (file.parent / "pieces").exists()


@pytest.mark.parametrize(
    "change",
    [{"sha256": "0" * 64}, {"size": 5}, {"piece_bytes": 1}, {"format": "x"}, {"pieces": []}, {"pieces": [1, 2, 3]}],
)
def test_a_list_of_something_else_does_not_count(file: Path, change: dict[str, object]) -> None:
    wanted = Digests(file.parent).of(file, SHA, len(DATA))
    kept = file.parent / "pieces" / f"{SHA}.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), **change}))
    assert Digests(file.parent).of(file, SHA, len(DATA)) == wanted
    kept.write_text("[" * 100_000)
    assert Digests(file.parent).of(file, SHA, len(DATA)) == wanted


def test_a_store_that_cannot_be_written_still_has_lists(file: Path) -> None:
    (file.parent / "pieces").write_text("in the way")
    assert len(Digests(file.parent).of(file, SHA, len(DATA))) == 3
