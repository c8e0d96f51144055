"""Manifests and the cutting into pieces."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core import push
from phi4_edge.errors import ArtifactError

SHA = hashlib.sha256(b"x").hexdigest()


def document(**changes: Any) -> str:
    line = {"path": "model/weights", "size": 1, "sha256": SHA} | changes.pop("file", {})
    return json.dumps({"format": push.FORMAT, "files": [line]} | changes)


def test_a_manifest_gives_its_files() -> None:
    files, links = push.manifest(document(), None)
    assert (files, links) == ((push.File("model/weights", 1, SHA),), ())
    assert push.manifest(document(digest=push.digest(files)), push.digest(files)) == (files, ())


def test_the_digest_is_what_sha256sum_and_sort_give() -> None:
    files = (push.File("b", 1, "0" * 64), push.File("a", 1, "f" * 64))
    lines = "0" * 64 + "  b\n" + "f" * 64 + "  a\n"
    assert push.digest(files) == push.digest(files[::-1]) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("path", ["../escape", "/etc/escape", "a//b", ".", "", "a/../b", 7])
def test_a_manifest_cannot_name_a_file_outside_of_its_directory(path: object) -> None:
    with pytest.raises(ArtifactError, match="manifest that cannot be used"):
        push.manifest(document(file={"path": path}), None)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", document(format="other"), document(file={"size": -1}), document(file={"sha256": "abc"})],
)
def test_a_manifest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="fetch or convert the artifact again"):
        push.manifest(text, None)


def test_a_manifest_of_other_content_is_refused() -> None:
    with pytest.raises(ArtifactError, match="needed 0000000000000000"):
        push.manifest(document(), "0" * 64)
    with pytest.raises(ArtifactError, match="changed by hand"):
        push.manifest(document(digest="1" * 64), None)


SIZES = st.lists(st.integers(0, 50), max_size=8)


@given(SIZES, st.data())
def test_pieces_cover_exactly_what_is_missing_in_order(sizes: list[int], data: st.DataObject) -> None:
    files = [push.File(str(number), size, SHA) for number, size in enumerate(sizes)]
    have = {
        file.path: data.draw(st.integers(0, file.size)) for file in files if data.draw(st.booleans())
    }  # the others are already in place
    limit = data.draw(st.integers(1, 60))
    batches = list(push.batches(files, have, limit))
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
