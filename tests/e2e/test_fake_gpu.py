"""A simulated GPU: everything is planned and configured for it, and the gate finds that no container sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

PROFILE = "fake-gpu-rtx3060-16gb"
DAEMON = '{"labels": ["site=plant"]}\n'
# The host as it serves before somebody asks for its GPU.
ON_CPU = {"phi4_engine": "ollama", "phi4_profile": "production_cpu", "phi4_quantization": "q8_0"}
ON_GPU = {"phi4_engine": "ollama", "phi4_quantization": "q8_0", "phi4_service_manager": "compose"}


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from tests.standins import publish_vendors

    folder = tmp_path_factory.mktemp("gpu")
    store = own_store(ready.store, folder / "store")
    name = f"gpu-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose((PROFILE,)), kind="docker", with_mirror=True)
    try:
        found = open_site(made, store, folder)
        vendors = publish_vendors.publish(name, ["nvidia_runtime"])
        found.write({"gw1": {**ON_CPU, **vendors}})
        found.host("gw1").sh("cat > /etc/docker/daemon.json && systemctl restart docker", stdin=DAEMON)
        found.run("provision", "--yes").expect(0)
        found.write({"gw1": {**ON_GPU, **vendors}})
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host("gw1")]


def test_the_plan_is_for_the_gpu(site: Site) -> None:
    plan = json.loads(site.run("plan", "--output", "json").out)["plans"][0]
    assert (plan["profile"], plan["engine"], plan["accelerator"]) == ("production_gpu", "ollama", "cuda")
    assert plan["install"]["nvidia_toolkit"] is True


def test_a_container_that_sees_no_gpu_is_a_failed_release(site: Site) -> None:
    host = site.host("gw1")
    served = host.receipt()
    done = site.run("provision", "--yes", "--output", "json").expect(4)
    reason = done.result["hosts"][0]["reason"]
    assert "GPU" in reason, reason
    assert host.receipt() == served
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    assert json.loads(site.run("status", "--output", "json").expect(0).out)["hosts"][0]["state"] == "serving"


def test_dockers_configuration_has_both(site: Site) -> None:
    found = json.loads(site.host("gw1").sh("cat /etc/docker/daemon.json"))
    assert found["labels"] == ["site=plant"]
    assert "nvidia" in found.get("runtimes", {}) or found.get("features", {}).get("cdi")
    assert "nvidia.com/gpu" in site.host("gw1").sh("cat /var/run/cdi/*.yaml /etc/cdi/*.yaml 2>/dev/null", code=None)


def test_remove_restores_dockers_configuration(site: Site) -> None:
    site.run("remove", "--yes").expect(0)
    assert site.host("gw1").sh("cat /etc/docker/daemon.json") == DAEMON
    assert site.host("gw1").sh("ls /opt/phi4-edge /var/lib/phi4-edge 2>/dev/null", code=None) == ""
