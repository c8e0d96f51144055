"""The image of the ONNX engine, built from a base in a registry and a wheelhouse: what is in it, and when it is new."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from phi4_edge.artifacts.images import build as images_build
from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.held import Held
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.convert.test_wheelhouse import wheel
from tests.unit.artifacts.images.standin_registry import StandinRegistry, planned, serving
from tests.unit.artifacts.sample import leftovers

pytestmark = pytest.mark.slow

CATALOG = load_catalog()
BASE = ("library/base", "3.13")
PYTHON = {"usr/bin/python3.13": b"an interpreter", "usr/bin/python3.9": b"an old one", "usr/lib/python3.13": b""}


class Bench:
    """An engine with one wheel in its lock, a registry with a base image, and a store."""

    def __init__(self, folder: Path, registry: StandinRegistry) -> None:
        self.folder, self.registry, self.store = folder, registry, Store(folder / "store")
        self.engine = folder / "roles" / "onnx" / "files" / "engine"
        package = self.engine / "src" / "phi4_engine"
        (package / "__pycache__").mkdir(parents=True)
        (package / "__main__.py").write_text("serve()\n")
        (package / "__pycache__" / "x.pyc").write_text("")
        (self.engine / "locks").mkdir()
        hashes = [wheel(folder / "index", f"cp313-cp313-manylinux_2_28_{arch}") for arch in ("x86_64", "aarch64")]
        lines = " \\\n".join(["sample==1.0", *(f"    --hash=sha256:{value}" for value in hashes)])
        (self.engine / "locks" / "cp313.txt").write_text(lines + "\n")
        self.digest = "0123456789abcdef" * 4

    def roles(self) -> Path:
        return self.folder / "roles"

    def runtimes(self) -> dict[str, str]:
        return {"onnx": "0" * 64, "phi4-edge/onnx": self.digest}

    def catalog(self) -> Catalog:
        """Ours, with the base image that the stand-in registry has."""
        engine = CATALOG.engines["onnx"]
        build = engine.builds["cpu"]
        image = build.images[0]
        assert image.base is not None
        base = replace(image.base, repository=f"docker.io/{BASE[0]}", tag=BASE[1], digests={})
        build = replace(build, images=(replace(image, base=base),))
        engine = replace(engine, builds=MappingProxyType({"cpu": build}))
        return replace(CATALOG, engines=MappingProxyType({**CATALOG.engines, "onnx": engine}))

    def build(self, architecture: str = "amd64", store: Store | None = None) -> Held:
        wanted = planned("phi4-edge/onnx", f"0.18.0-{self.digest[:12]}", architecture)
        return delivery.ensure(store or self.store, self.catalog(), wanted, self.registry.host, content=self)

    def config(self, held: Held) -> dict[str, Any]:
        assert held.folder is not None
        return dict(json.loads((held.folder / "blobs/sha256" / held.id[7:]).read_text()))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with serving() as registry:
        registry.add(*BASE, [{"etc/os": b"debian"}, PYTHON], ("amd64", "arm64"), ["PATH=/sbin:/usr/bin", "LANG=C"])
        yield Bench(tmp_path, registry)


def top(held: Held) -> dict[str, tarfile.TarInfo]:
    """Members of the uppermost layer, without folders."""
    assert held.folder is not None
    layers = json.loads((held.folder / "docker-manifest.json").read_text())[0]["Layers"]
    assert len(layers) == 3
    with tarfile.open(held.folder / layers[-1]) as archive:
        return {member.name: member for member in archive if not member.isdir()}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_engine_is_one_layer_over_the_base_for_either_architecture(bench: Bench, architecture: str) -> None:
    held = bench.build(architecture)
    members = top(held)
    root = "opt/phi4-edge/engine"
    assert members[f"{root}/bin/python"].linkname == "/usr/bin/python3.13"
    site = f"{root}/lib/python3.13/site-packages"
    assert {f"{root}/pyvenv.cfg", f"{site}/sample.py", f"{site}/phi4_engine/__main__.py"} < set(members)
    assert not [name for name in members if name.endswith(".pyc")]
    config = bench.config(held)
    assert config["architecture"] == architecture
    assert len(config["rootfs"]["diff_ids"]) == 3
    inner = config["config"]
    assert (inner["User"], inner["WorkingDir"]) == ("65532:65532", "/")
    assert inner["Entrypoint"] == [f"/{root}/bin/python", "-I", "-m", "phi4_engine"]
    assert "Cmd" not in inner
    assert {"PATH=/sbin:/usr/bin", "LANG=C", "ORT_DISABLE_TELEMETRY=1"} < set(inner["Env"])
    assert leftovers(bench.store) == []


def test_the_same_content_is_the_same_image_on_every_controller(bench: Bench, tmp_path: Path) -> None:
    assert bench.build().digest == bench.build(store=Store(tmp_path / "other")).digest


def test_it_is_built_once_and_again_when_base_or_engine_change(bench: Bench) -> None:
    first = bench.build()
    again = bench.build()
    assert (again.made, again.digest) == (False, first.digest)
    (bench.engine / "src" / "phi4_engine" / "__main__.py").write_text("serve_better()\n")
    bench.digest = "f" * 64
    changed = bench.build()
    assert changed.made
    assert changed.key != first.key
    base = f"docker.io/{BASE[0]}:{BASE[1]}/amd64"
    Images(bench.store).remove(base)
    bench.registry.add(*BASE, [{"etc/os": b"a newer one"}, PYTHON], ("amd64",), ["PATH=/usr/bin"])
    rebased = bench.build()
    assert rebased.made
    assert rebased.digest != changed.digest
    assert Images(bench.store).digests()[rebased.key] == rebased.digest


def test_a_base_without_python_or_without_a_lock_for_it_is_refused(bench: Bench) -> None:
    bench.registry.add(*BASE, [{"etc/os": b"debian"}, {"opt/python3.13": b""}], ("amd64",), ["PATH=/usr/bin"])
    with pytest.raises(ArtifactError, match="has no python3 in /usr/bin"):
        bench.build()
    Images(bench.store).remove(f"docker.io/{BASE[0]}:{BASE[1]}/amd64")
    bench.registry.add(*BASE, [{"usr/bin/python3.9": b""}, {"a": b""}], ("amd64",), ["PATH=/usr/bin"])
    with pytest.raises(ArtifactError, match=r"no lock for Python 3\.9"):
        bench.build()


def test_our_own_images_are_not_looked_for_in_a_registry(bench: Bench) -> None:
    with pytest.raises(ArtifactError, match="built from the files of this installation"):
        delivery.ensure(bench.store, bench.catalog(), planned("phi4-edge/onnx"), bench.registry.host)
    assert CATALOG.engines["onnx"].container_port == images_build.PORT
