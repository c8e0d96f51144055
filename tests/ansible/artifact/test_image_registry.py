"""Images that a host pulls itself: by digest, from docker-registry on loopback, verified like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.images import delivery
from phi4_edge.data import load_catalog
from tests.ansible.artifact.image_bench import Bench, docker, machine
from tests.standins import real_registry


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose registry has an image that no store has."""
    if not real_registry.usable():
        pytest.skip("docker-registry or Docker is not here; .ci/host-setup installs them")
    with real_registry.serving(tmp_path) as address:
        made = Bench(tmp_path)
        real_registry.push(f"{address}/edge/{made.repository}:1.0", made.repository.encode() * 1000)
        key = f"{made.repository}:1.0/{machine()}"
        made.planned = {
            "repository": made.repository, "tag": "1.0", "architecture": machine(), "key": key, "digest": None,
        }  # fmt: skip
        made.mirror = f"{address}/edge"
        made.planned["digest"] = delivery.pin(made.store, load_catalog(), made.planned, made.mirror).digest
        yield made
        made.clean()


def names(bench: Bench) -> list[str]:
    every = docker("image", "ls", "--digests", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}").split()
    return [name for name in every if bench.repository.rpartition("/")[2] in name]


def test_a_host_pulls_by_digest_from_the_mirror_and_only_once(bench: Bench) -> None:
    how = {"__artifact_image_delivery": "registry", "__artifact_image_mirror": bench.mirror}
    assert "would be done" in bench.deliver("--check", **how).output
    assert names(bench) == []
    first = bench.deliver(**how)
    assert first.status == 0, first.output
    assert bench.loaded() in first.output
    assert [name.partition("@")[0] for name in names(bench)] == [bench.name]
    assert bench.deliver(**how).recap("here")["changed"] == 0


def test_a_registry_that_lacks_the_digest_is_named_with_what_to_do(bench: Bench) -> None:
    bench.planned["digest"] = "sha256:" + "0" * 64
    failed = bench.deliver(__artifact_image_delivery="registry", __artifact_image_mirror=bench.mirror)
    assert failed.status == 2
    assert f"could not pull {bench.mirror}/{bench.repository}@sha256:0000" in failed.output
    assert "phi4_image_mirror" in failed.output
