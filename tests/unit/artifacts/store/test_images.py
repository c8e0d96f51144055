"""An image of the store is what its digest says: whatever lies in its folder is compared with the walk from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core import image_walk
from phi4_edge.errors import ArtifactError
from phi4_edge.main import cli
from tests.unit.artifacts.bundle.full_store import KEY, image

BLOBS = image_walk.BLOBS


class Held:
    """One image of a store, and ways to change its folder so that its own manifest.json agrees."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.digest = f"sha256:{image(self.store, KEY, b'configuration')}"
        self.shelf = Images(self.store)
        self.folder = self.shelf.path(self.digest)
        document = json.loads((self.folder / BLOBS / self.digest[7:]).read_bytes())
        self.config = self.folder / BLOBS / document["config"]["digest"][7:]
        self.layer = self.folder / BLOBS / document["layers"][0]["digest"][7:]

    def agree(self) -> None:
        """The folder's own manifest.json lists what lies in the folder."""
        held = Manifest.read(self.folder / manifest.NAME)
        listed = replace(held, files=manifest.describe(self.folder))
        files.write_json(self.folder / manifest.NAME, listed.to_dict())


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def other_manifest(held: Held) -> None:
    path = held.folder / BLOBS / held.digest[7:]
    path.write_bytes(path.read_bytes().replace(b'"schemaVersion":2', b'"schemaVersion":3'))


def other_configuration(held: Held) -> None:
    held.config.write_bytes(held.config.read_bytes().replace(b"amd64", b"amd65"))


def other_layer(held: Held) -> None:
    held.layer.write_bytes(b"L" + held.layer.read_bytes()[1:])


def other_index(held: Held) -> None:
    (held.folder / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')


def other_archive(held: Held) -> None:
    path = held.folder / "docker-manifest.json"
    path.write_bytes(path.read_bytes().replace(b"phi4-edge/ollama", b"phi4-edge/evil00"))


def blob_beside(held: Held) -> None:
    (held.folder / BLOBS / ("0" * 64)).write_bytes(b"evil")


def file_beside(held: Held) -> None:
    (held.folder / "repositories").write_bytes(b"{}")


def link_for_a_blob(held: Held) -> None:
    held.config.rename(held.folder.parent / "elsewhere")
    held.config.symlink_to(held.folder.parent / "elsewhere")


def no_layer(held: Held) -> None:
    held.layer.unlink()


CHANGES = (
    other_manifest, other_configuration, other_layer, other_index, other_archive, blob_beside, file_beside, no_layer,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_folder_that_agrees_with_itself_is_still_compared_with_the_pin(
    held: Held, change: Callable[[Held], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert held.shelf.damage(held.digest) == ()
    change(held)
    held.agree()
    assert held.shelf.damage(held.digest, deep=True) != ()
    with pytest.raises(ArtifactError, match="is damaged in the store"):
        held.shelf.verify(KEY)
    monkeypatch.setenv("PHI4_EDGE_STORE", str(held.store.root))
    assert CliRunner().invoke(cli, ["model", "verify", KEY]).exit_code == 3


def test_a_link_in_a_blobs_place_counts_as_none(held: Held) -> None:
    link_for_a_blob(held)
    assert "missing" in held.shelf.damage(held.digest)[0]


def test_manifest_and_configuration_are_hashed_at_a_shallow_look_too(held: Held) -> None:
    other_layer(held)
    assert held.shelf.damage(held.digest, deep=False) == ()
    other_configuration(held)
    assert held.shelf.damage(held.digest, deep=False) != ()


@pytest.mark.parametrize(
    "line",
    [{"id": "sha256:" + "e" * 64}, {"size": 7}, {"digest": "sha256:" + "e" * 64}],
)
def test_an_image_is_not_adopted_under_a_line_that_says_something_else(held: Held, line: dict[str, Any]) -> None:
    entry = {**held.shelf.index()[KEY], **line}
    other = Store(held.store.root / "other")
    with other.workspace("image") as work:
        held.folder.rename(work / "layout")
        with pytest.raises(ArtifactError):
            Images(other).adopt(KEY, work / "layout", entry, {})
    assert Images(other).index() == {}
    assert not Images(other).folder.exists()


def test_what_lay_beside_the_blobs_is_not_taken_along(held: Held) -> None:
    """Whoever hands a folder over may have written anything there; it is made anew."""
    before = {path.name: path.read_bytes() for path in held.folder.iterdir() if path.is_file()}
    for name in before:
        (held.folder / name).write_bytes(b"evil")
    other = Store(held.store.root / "other")
    with other.workspace("image") as work:
        held.folder.rename(work / "layout")
        place = Images(other).adopt(KEY, work / "layout", held.shelf.index()[KEY], {"kind": "test"})
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
