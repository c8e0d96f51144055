"""Manifests and the cutting into pieces."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core import manifest
from phi4_edge.errors import ArtifactError, FactsError, HostFailedError
from phi4_edge.remote import pieces, push

SHA = hashlib.sha256(b"x").hexdigest()


def document(**changes: Any) -> str:
    line = {"path": "model/weights", "size": 1, "sha256": SHA} | changes.pop("file", {})
    return json.dumps({"format": manifest.FORMAT, "files": [line]} | changes)


def test_a_manifest_gives_its_files() -> None:
    files, links = manifest.manifest(document(), None)
    assert (files, links) == ((manifest.File("model/weights", 1, SHA),), ())
    assert manifest.manifest(document(digest=manifest.digest(files)), manifest.digest(files)) == (
        files,
        (),
    )


def test_the_digest_is_what_sha256sum_and_sort_give() -> None:
    files = (manifest.File("b", 1, "0" * 64), manifest.File("a", 1, "f" * 64))
    lines = "0" * 64 + "  b\n" + "f" * 64 + "  a\n"
    assert manifest.digest(files) == manifest.digest(files[::-1]) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("path", ["../escape", "/etc/escape", "a//b", ".", "", "a/../b", 7])
def test_a_manifest_cannot_name_a_file_outside_of_its_directory(path: object) -> None:
    with pytest.raises(ArtifactError, match="manifest that cannot be used"):
        manifest.manifest(document(file={"path": path}), None)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", document(format="other"), document(file={"size": -1}), document(file={"sha256": "abc"})],
)
def test_a_manifest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="fetch or convert the artifact again"):
        manifest.manifest(text, None)


def test_a_manifest_of_other_content_is_refused() -> None:
    with pytest.raises(ArtifactError, match="needed 0000000000000000"):
        manifest.manifest(document(), "0" * 64)
    with pytest.raises(ArtifactError, match="changed by hand"):
        manifest.manifest(document(digest="1" * 64), None)


SIZES = st.lists(st.integers(0, 50), max_size=8)


@given(SIZES, st.data())
def test_pieces_cover_exactly_what_is_missing_in_order(sizes: list[int], data: st.DataObject) -> None:
    files = [manifest.File(str(number), size, SHA) for number, size in enumerate(sizes)]
    have = {
        file.path: data.draw(st.integers(0, file.size)) for file in files if data.draw(st.booleans())
    }  # the others are already in place
    limit = data.draw(st.integers(1, 60))
    batches = list(pieces.batches(files, have, limit))
    assert all(0 < sum(piece.length for piece in batch) <= limit for batch in batches)
    assert all(sum(piece.length for piece in batch) == limit for batch in batches[:-1])
    sent = [
        (piece.file.path, byte)
        for batch in batches
        for piece in batch
        for byte in range(piece.offset, piece.offset + piece.length)
    ]
    assert sent == [
        (file.path, byte) for file in files if file.path in have for byte in range(have[file.path], file.size)
    ]


def sent_to(folder: Path, **answers: Any) -> dict[str, Any]:
    """One small file is sent to a host that answers so."""
    data = b"x"
    (folder / "weights").write_bytes(data)
    line = {"path": "weights", "size": 1, "sha256": SHA}
    (folder / "manifest.json").write_text(json.dumps({"format": manifest.FORMAT, "files": [line]}))
    said: dict[str, Any] = {
        "survey": {"complete": False, "have": {"weights": 0}, "missing": 1, "free": 1 << 30}, "store": {},
        "finish": {"changed": True, "bad": []}, **answers,
    }  # fmt: skip
    order = push.Order("a model", folder, "/none", "/none/staging", 10, 0)
    return push.push(order, lambda what, _args, _payload: dict(said[what]), lambda _text: None, check=False)


def test_a_host_that_tells_the_truth_is_sent_what_is_missing(tmp_path: Path) -> None:
    assert sent_to(tmp_path)["sent"] == 1
    with pytest.raises(HostFailedError, match="found weights damaged on the way three times, needed it as it was sent"):
        sent_to(tmp_path, store={"damaged": "weights"})


@pytest.mark.parametrize(
    "answers",
    [
        {"store": {"damaged": "\x1b[2J"}},
        {"store": {"damaged": "other"}},
        {"finish": {"bad": ["\x1b[2J"]}},
        {"finish": {"bad": ["../../etc/passwd"]}},
        {"survey": {"complete": False, "have": {"weights": 2}, "missing": 1, "free": 1 << 30}},
    ],
)
def test_a_host_that_speaks_of_other_files_is_refused(tmp_path: Path, answers: dict[str, Any]) -> None:
    with pytest.raises(FactsError, match="found an invalid answer from the host") as caught:
        sent_to(tmp_path, **answers)
    assert str(caught.value).isprintable()
