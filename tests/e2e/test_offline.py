"""A fleet without internet: a bundle, an empty store, a network without a way out."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

WANTED = {
    "gw1": {"phi4_engine": "onnx"},
    "gw2": {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"},
}
# Whoever asks there for anything is refused at once.
NOWHERE = "http://127.0.0.1:9"
CLOSED = {
    "PHI4_EDGE_OLLAMA_URL": NOWHERE,
    "HF_ENDPOINT": NOWHERE,
    "PIP_INDEX_URL": NOWHERE,
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/nonexistent",
    "http_proxy": NOWHERE,
    "https_proxy": NOWHERE,
}


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("offline")
    name = f"offline-{os.getpid()}"
    profiles = lab_room.load_profiles().choose(("gateway-6gb", "gateway-8gb"))
    made = lab_room.up(name, profiles, kind=("bare", "docker"), offline=True, with_mirror=True)
    try:
        found = open_site(made, own_store(ready.store, folder / "store"), folder)
        found.write(WANTED)
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(name) for name in WANTED]


@pytest.fixture(scope="module")
def bundle(site: Site) -> Path:
    """Made where there is a network, for the hosts as they are."""
    path = site.folder / "fleet.tar"
    site.cli.run("bundle", "create", *site.inventories, "-o", path, timeout=900).expect(0)
    return path


@pytest.fixture(scope="module")
def closed(site: Site, bundle: Path) -> Site:
    """The site from then on: no vendor, no mirror, no store."""
    site.write({name: {**wanted, "phi4_image_mirror": "127.0.0.1:9"} for name, wanted in WANTED.items()})
    return dataclasses.replace(site, cli=Cli(site.folder / "empty", site.folder, CLOSED))


def test_one_changed_byte_is_refused_by_name(closed: Site, bundle: Path) -> None:
    damaged = closed.folder / "damaged.tar"
    shutil.copyfile(bundle, damaged)
    with damaged.open("r+b") as stream:
        stream.seek(bundle.stat().st_size * 2 // 3)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    done = closed.run("provision", "--bundle", damaged, "--yes").expect(3)
    assert any(f"{folder}/" in done.err for folder in ("artifacts", "images", "wheelhouses", "blobs", "files")), (
        done.err
    )
    assert closed.host("gw1").sh("ls /opt/phi4-edge 2>/dev/null", code=None) == ""


def test_without_the_bundle_nothing_can_be_had(closed: Site) -> None:
    done = closed.run("provision", "--yes", "--output", "json").expect(3)
    assert set(done.outcomes().values()) == {"preflight"}


def test_the_bundle_is_all_that_it_takes(closed: Site, bundle: Path) -> None:
    done = closed.run("provision", "--bundle", bundle, "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(WANTED, "done")
    for name in WANTED:
        host = closed.host(name)
        host.sh("timeout 3 bash -c 'exec 3<>/dev/tcp/9.9.9.9/53'", code=124)
        assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1


def test_a_second_run_needs_the_bundle_no_more(closed: Site) -> None:
    assert closed.run("provision", "--yes", "--output", "json").expect(0).result["changed"] == 0


def test_the_bill_of_materials_names_every_part(closed: Site, bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        member = archive.extractfile("sbom.cdx.json")
        assert member is not None
        document = json.load(member)
    names = " ".join(component["name"] for component in document["components"])
    for part in ("onnxruntime-genai", "ollama", "tiny"):
        assert part in names.replace("_", "-"), part
