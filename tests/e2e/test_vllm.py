"""The real vLLM on a CPU, in its container behind a gateway: minutes to build, minutes to load, hence `make tables`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store.store import Store
from tests.e2e import fronted, settings
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy, pytest.mark.full]
HOST = "gw1"


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from tests.standins import vllm_image

    folder = tmp_path_factory.mktemp("vllm")
    store = own_store(ready.store, folder / "store")
    try:
        vllm_image.adopt(vllm_image.build(), Store(store))
    except vllm_image.NoTorchError as error:
        pytest.skip(str(error))
    name = f"vllm-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose(["server-16gb"]), kind="docker", with_mirror=True)
    try:
        yield fronted.open_fronted(made, store, folder, {HOST: {"phi4_engine": "vllm", "phi4_profile": "development"}})
    finally:
        lab_room.down(name)
        shutil.rmtree(store, ignore_errors=True)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(HOST)]


def test_it_serves_like_every_other_engine_and_leaves_nothing(site: Site) -> None:
    before = fronted.trees(site)
    assert site.run("provision", "--yes", "--output", "json").expect(0).outcomes() == {HOST: "done"}
    receipt = site.host(HOST).receipt()
    assert (receipt["engine"], receipt["service_manager"]) == ("vllm", "compose")
    fronted.clients_use(site, HOST)
    fronted.commands_know(site)
    for plan in json.loads(site.run("plan", "--output", "json").expect(0).out)["plans"]:
        settings.check(site.host(plan["host"]), plan)
    fronted.again_changes_nothing(site)
    fronted.passes_the_benchmark(site.host(HOST))
    fronted.removed(site, before)
