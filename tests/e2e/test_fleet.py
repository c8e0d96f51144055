"""One run over a mixed fleet: ONNX and Ollama natively, Ollama and the real vLLM in containers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator

import pytest
from e2e_support import Cli, Gateway
from site_support import Site, open_site, own_store

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

PROFILES = ("gateway-6gb", "gateway-6gb", "gateway-8gb", "server-16gb")
KINDS = ("bare", "bare", "docker", "docker")
WANTED = {
    "gw1": {"phi4_engine": "onnx"},
    "gw2": {"phi4_engine": "ollama", "phi4_quantization": "q4_0"},
    "gw3": {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"},
    "gw4": {"phi4_engine": "vllm", "phi4_profile": "development"},
}
DAEMON = '{\n    "debug": false,\n    "labels": ["site=plant"]\n}\n'
CONTAINERS = ("gw3", "gw4")


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    import vllm_image

    folder = tmp_path_factory.mktemp("site")
    store = own_store(ready.store, folder / "store")
    vllm_image.adopt(vllm_image.build(), Store(store))
    name = f"fleet-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose(PROFILES), kind=KINDS, with_mirror=True)
    try:
        found = open_site(made, store, folder)
        found.write(WANTED)
        # Somebody has configured Docker on this host before.
        found.host("gw3").sh("cat > /etc/docker/daemon.json && systemctl restart docker", stdin=DAEMON)
        yield found
    finally:
        lab_room.down(name)
        shutil.rmtree(store, ignore_errors=True)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(name) for name in WANTED]


@pytest.fixture(scope="module")
def before(site: Site) -> dict[str, dict[str, str]]:
    """Every host before anything was done to it."""
    return {name: {**site.host(name).tree(), **daemon(site.host(name))} for name in WANTED}


def daemon(host: Gateway) -> dict[str, str]:
    """Docker's configuration, byte for byte, its images and containers."""
    told = host.sh("cat /etc/docker/daemon.json; docker images -q; docker ps -aq; docker volume ls -q; "
                   "docker network ls --format '{{.Name}}'", code=None)  # fmt: skip
    return {"docker": told}


def test_one_run_serves_with_four_deployments(site: Site, before: dict[str, dict[str, str]]) -> None:
    assert set(before) == set(WANTED)
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(WANTED, "done")
    receipts = {name: site.host(name).receipt() for name in WANTED}
    engines = {name: (found["engine"], found["service_manager"]) for name, found in receipts.items()}
    assert engines == {
        "gw1": ("onnx", "systemd"), "gw2": ("ollama", "systemd"),
        "gw3": ("ollama", "compose"), "gw4": ("vllm", "compose"),
    }  # fmt: skip


def test_every_host_answers_and_listens_on_loopback_alone(site: Site) -> None:
    for name in WANTED:
        host = site.host(name)
        answer = host.chat("Say hello.", 8)
        assert answer["usage"]["completion_tokens"] >= 1, name
        listening = host.sh("ss -Hltn 'sport = :8080' | awk '{print $4}'").split()
        assert listening == ["127.0.0.1:8080"], name


def test_verify_is_green_for_every_engine(site: Site) -> None:
    done = site.run("verify", "--output", "json").expect(0)
    document = json.loads(done.out)
    assert {host["host"] for host in document["hosts"]} == set(WANTED)
    for host in document["hosts"]:
        assert all(answer["answered"] for answer in host["answers"]), host


def test_status_and_ask_know_every_engine(site: Site) -> None:
    document = json.loads(site.run("status", "--output", "json").expect(0).out)
    assert {host["host"]: host["state"] for host in document["hosts"]} == dict.fromkeys(WANTED, "serving")
    assert "gw4:" in site.run("ask", "Say hello.", "--max-tokens", "8").expect(0).out


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(WANTED, "unchanged")
    assert done.result["changed"] == 0


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_pass_the_checks_of_the_docker_benchmark(site: Site, name: str) -> None:
    import container_bench

    host = site.host(name)
    ids = host.sh("docker ps -q --filter label=phi4-edge.release").split()
    assert len(ids) == 1
    inspected = json.loads(host.sh(shlex.join(["docker", "inspect", *ids])))
    info = json.loads(host.sh("docker info --format '{{json .}}'"))
    processes = {inspected[0]["Id"]: host.sh(f"docker top {ids[0]}")}
    assert container_bench.findings(inspected, info, processes) == []


def test_dockers_configuration_was_merged(site: Site) -> None:
    found = json.loads(site.host("gw3").sh("cat /etc/docker/daemon.json"))
    assert found["labels"] == ["site=plant"]
    assert found["log-opts"], "nothing of ours was added"


def test_a_killed_container_comes_back(site: Site) -> None:
    host = site.host("gw3")
    host.sh("docker kill $(docker ps -q --filter label=phi4-edge.release)")
    host.sh("for i in $(seq 60); do curl -sf http://127.0.0.1:8080/api/version && exit 0; sleep 1; done; exit 1")
    assert site.run("status", "--limit", "gw3").expect(0)


def test_remove_leaves_every_host_as_it_was(site: Site, before: dict[str, dict[str, str]]) -> None:
    site.run("remove", "--yes").expect(0)
    for name in WANTED:
        was, now = before[name], {**site.host(name).tree(), **daemon(site.host(name))}
        differ = {path: (was.get(path), now.get(path)) for path in {*was, *now} if was.get(path) != now.get(path)}
        assert not differ, (name, dict(list(differ.items())[:20]))
