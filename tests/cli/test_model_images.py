"""`phi4-edge model` on container images: listed, verified and removed by repository:tag/architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.held import Held
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.main import cli
from tests.unit.artifacts.images.standin_registry import planned, serving

KEY = "site/thing:1.0/amd64"


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    with serving() as registry:
        registry.add("site/thing", "1.0", [{"a": b"b" * 5000}])
        return delivery.ensure(Store(), load_catalog(), planned("site/thing"), registry.host)


def model(*words: str) -> Result:
    return CliRunner().invoke(cli, ["model", *words])


def test_an_image_is_listed_verified_and_removed(held: Held) -> None:
    assert held.digest[7:19] in model("list").output
    whole = model("verify")
    assert (whole.exit_code, f"{KEY}: whole" in whole.output) == (0, True)
    assert model("remove", KEY).exit_code == 0
    assert Images(Store()).digests() == {}
    assert model("verify", KEY).exit_code == 3


def test_a_damaged_layer_is_named(held: Held) -> None:
    assert held.folder is not None
    layer = max((held.folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.write_bytes(layer.read_bytes() + b"x")
    damaged = model("verify", "--shallow")
    assert damaged.exit_code == 3
    assert str(layer) in "".join(damaged.output.split())
