"""Our client against docker-registry itself, filled by Docker's own push: two programs that we did not write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.held import config_of
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.standins import real_registry
from tests.unit.artifacts.images.standin_registry import planned


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    if not real_registry.usable():
        pytest.skip("docker-registry or Docker is not here; .ci/host-setup installs them")
    with real_registry.serving(tmp_path) as where:
        yield where


def test_what_docker_pushed_is_fetched_and_has_dockers_id(address: str, tmp_path: Path) -> None:
    made = real_registry.push(f"{address}/site/thing:1.0", address.encode() * 20_000)
    store, catalog = Store(tmp_path / "store"), load_catalog()
    architecture = real_registry.docker("version", "--format", "{{.Server.Arch}}")
    held = delivery.ensure(store, catalog, planned(f"{address}/site/thing", architecture=architecture))
    assert held.id == made
    assert Images(store).damage(held.digest) == ()
    assert config_of(Images(store), held.digest)["architecture"] == architecture
    with pytest.raises(ArtifactError, match="has no"):
        delivery.ensure(store, catalog, planned(f"{address}/site/thing", "2.0", architecture))
