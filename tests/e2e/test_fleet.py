"""One run over a mixed fleet: ONNX and Ollama natively, Ollama and the real vLLM in containers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store.store import Store
from tests.e2e import openai_client, settings
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.ollama_watch import RUNNER, journal_lines, serving, until
from tests.e2e.site import Site, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

PROFILES = ("gateway-6gb", "gateway-6gb", "gateway-8gb", "server-16gb")
KINDS = ("bare", "bare", "docker", "docker")
WANTED = {
    "gw1": {"phi4_engine": "onnx", "phi4_repacked": "true"},
    "gw2": {"phi4_engine": "ollama", "phi4_quantization": "q4_0"},
    "gw3": {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"},
    "gw4": {"phi4_engine": "vllm", "phi4_profile": "development"},
}
# Each has a gateway for others too; the package is there before, as it stays.
THROUGH = {"phi4_gateway": "true", "phi4_bind": "0.0.0.0"}
HAPROXY = "apt-get -q update && apt-get -q install -y haproxy nftables && systemctl disable --now haproxy"
DAEMON = '{\n    "debug": false,\n    "labels": ["site=plant"]\n}\n'
CONTAINERS, OLLAMA = ("gw3", "gw4"), ("gw2", "gw3")


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from tests.standins import vllm_image

    folder = tmp_path_factory.mktemp("site")
    store = own_store(ready.store, folder / "store")
    number = len(WANTED)
    try:
        vllm_image.adopt(vllm_image.build(), Store(store))
    except vllm_image.NoTorchError:
        number -= 1  # three engines are worth a look even so; what is about vLLM is skipped
    name = f"fleet-{os.getpid()}"
    profiles = lab_room.load_profiles().choose(PROFILES[:number])
    made = lab_room.up(name, profiles, kind=KINDS[:number], with_mirror=True)
    try:
        found = open_site(made, store, folder)
        keys = folder / "keys.txt"
        (folder / "north.key").write_text(found.cli.run("key", "add", made.inventory, "north", "--keys", keys).out)
        found.cli.run("trust", "ca").expect(0)
        through = {**THROUGH, "phi4_gateway_keys": keys}
        found.write({name: {**wanted, **through} for name, wanted in list(WANTED.items())[:number]})
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda name: found.host(name).sh(HAPROXY), found.names))
        # Somebody has configured Docker on this host before.
        found.host("gw3").sh("cat > /etc/docker/daemon.json && systemctl restart docker", stdin=DAEMON)
        yield found
    finally:
        lab_room.down(name)
        shutil.rmtree(store, ignore_errors=True)


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(name) for name in site.names]


@pytest.fixture(scope="module")
def before(site: Site) -> dict[str, dict[str, str]]:
    """Every host before anything was done to it."""
    return {name: {**site.host(name).tree(), **daemon(site.host(name))} for name in site.names}


def daemon(host: Gateway) -> dict[str, str]:
    """Docker's configuration, byte for byte, its images and containers."""
    told = host.sh("cat /etc/docker/daemon.json; docker images -q; docker ps -aq; docker volume ls -q; "
                   "docker network ls --format '{{.Name}}'", code=None)  # fmt: skip
    return {"docker": told}


def test_one_run_serves_with_four_deployments(site: Site, before: dict[str, dict[str, str]]) -> None:
    assert set(before) == set(site.names)
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(site.names, "done")
    receipts = {name: site.host(name).receipt() for name in site.names}
    engines = {name: (found["engine"], found["service_manager"]) for name, found in receipts.items()}
    wanted = {
        "gw1": ("onnx", "systemd"), "gw2": ("ollama", "systemd"),
        "gw3": ("ollama", "compose"), "gw4": ("vllm", "compose"),
    }  # fmt: skip
    assert engines == {name: wanted[name] for name in site.names}


def test_every_host_answers_and_listens_on_loopback_alone(site: Site) -> None:
    for name in site.names:
        host = site.host(name)
        answer = host.chat("Say hello.", 8)
        assert answer["usage"]["completion_tokens"] >= 1, name
        listening = host.sh("ss -Hltn 'sport = :8080' | awk '{print $4}'").split()
        assert listening == ["127.0.0.1:8080"], name


def test_the_native_engine_reads_weights_that_were_repacked_on_the_host_whatever_becomes_of_them(site: Site) -> None:
    host = site.host("gw1")
    mapped = host.sh("cat /proc/$(pgrep -f '[p]hi4_engine.worker')/maps")  # not the shell that looks for it
    assert "/var/lib/phi4-edge/repacked/" in mapped and "model.onnx.data" not in mapped
    host.sh("printf damage | dd of=$(echo /var/lib/phi4-edge/repacked/*/weights.bin) bs=1 seek=4096 conv=notrunc && "
            "systemctl restart phi4-edge")  # fmt: skip
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.run("status").expect(0)


def test_clients_use_every_engine_alike_through_its_gateway(site: Site) -> None:
    key, ca = (site.folder / "north.key").read_text().strip(), site.cli.home / "config" / "ca.pem"
    for host in site.lab.hosts:
        assert openai_client.ask(host.address, 8443, ca, key)["text"].strip(), host.name
        refused = openai_client.ask(host.address, 8443, ca, "p4e_" + "A" * 43)
        assert refused == {"status": 401, "kind": "AuthenticationError", "code": "invalid_api_key"}, host.name
    # Routes of an engine itself, by which anybody could unload its model.
    assert site.host("gw2").sh("curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1:8443/api/tags") == "404"


def test_no_engine_cuts_a_prompt_in_silence_behind_its_gateway(site: Site) -> None:
    key, ca = (site.folder / "north.key").read_text().strip(), site.cli.home / "config" / "ca.pem"
    refused = {"status": 400, "kind": "BadRequestError", "code": "context_length_exceeded"}
    for host in site.lab.hosts:
        if host.name == "gw4":  # vLLM says it in words of its own
            continue
        assert openai_client.ask(host.address, 8443, ca, key, "far too long " * 9000) == refused, host.name
    for name in OLLAMA:
        host = site.host(name)
        assert "measured=long" in host.sh("journalctl -u phi4-edge-gateway -o cat --no-pager | tail -n 5"), name
        assert "ready to measure prompts" in host.sh("journalctl -u phi4-edge-measure -o cat --no-pager"), name
    host = site.host("gw2")
    host.sh("systemctl stop phi4-edge-measure")
    try:
        found = next(one for one in site.lab.hosts if one.name == "gw2")
        assert openai_client.ask(found.address, 8443, ca, key, "far too long " * 9000)["text"].strip()
    finally:
        host.sh("systemctl start phi4-edge-measure")


def test_verify_is_green_for_every_engine(site: Site) -> None:
    done = site.run("verify", "--output", "json").expect(0)
    document = json.loads(done.out)
    assert {host["host"] for host in document["hosts"]} == set(site.names)
    for host in document["hosts"]:
        assert all(answer["answered"] for answer in host["answers"]), host
    counts = document["counts"]
    assert counts["well_formed"] == counts["tool_calls"] == 2 * len(site.names), document


def test_status_and_ask_know_every_engine(site: Site) -> None:
    document = json.loads(site.run("status", "--output", "json").expect(0).out)
    assert {host["host"]: host["state"] for host in document["hosts"]} == dict.fromkeys(site.names, "serving")
    said = site.run("ask", "Say hello.", "--max-tokens", "8").expect(0).out
    assert all(f"{name}:" in said for name in site.names)


def test_every_knob_is_in_what_serves(site: Site) -> None:
    plans = json.loads(site.run("plan", "--output", "json").expect(0).out)["plans"]
    assert {plan["host"] for plan in plans} == set(site.names)
    for plan in plans:
        settings.check(site.host(plan["host"]), plan)


@pytest.mark.parametrize("name", OLLAMA)
def test_a_request_leaves_three_lines_at_most_in_ollamas_journal(site: Site, name: str) -> None:
    lines = journal_lines(site.host(name), 10)
    assert 10 <= len(lines) <= 30, "\n".join(lines)
    assert sum("/v1/chat/completions" in line for line in lines) == 10


def test_ollamas_runner_that_was_killed_is_there_again_and_is_told(site: Site) -> None:
    host = site.host("gw2")
    before = host.sh(RUNNER).split()
    host.sh("kill -9 $(pgrep -x llama-server)")
    found = until(site, "gw2", lambda entry: serving(entry) and entry["runner_kills"] == 1)[-1]
    assert host.sh(RUNNER).split() != before
    assert f"the model's process was killed once, last at {found['runner_killed_at']}" in found["endings"]
    assert found["restarts"] == 0


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(site.names, "unchanged")
    assert done.result["changed"] == 0


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_pass_the_checks_of_the_docker_benchmark(site: Site, name: str) -> None:
    from tests.e2e import container_bench

    if name not in site.names:
        pytest.skip("the real vLLM cannot be built without PyTorch's CPU build")
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
    until(site, "gw3", serving)


def test_remove_leaves_every_host_as_it_was(site: Site, before: dict[str, dict[str, str]]) -> None:
    site.run("remove", "--yes").expect(0)
    for name in site.names:
        was, now = before[name], {**site.host(name).tree(), **daemon(site.host(name))}
        differ = {path: (was.get(path), now.get(path)) for path in {*was, *now} if was.get(path) != now.get(path)}
        assert not differ, (name, dict(list(differ.items())[:20]))
