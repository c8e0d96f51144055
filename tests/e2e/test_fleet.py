"""One run over a mixed fleet: ONNX and Ollama natively, Ollama in a container. The fourth deployment: test_vllm."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import fronted, settings
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.ollama_watch import RUNNER, journal_lines, serving, until
from tests.e2e.site import Site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

PROFILES = ("gateway-6gb", "gateway-6gb", "gateway-8gb")
KINDS = ("bare", "bare", "docker")
WANTED = {
    "gw1": {"phi4_engine": "onnx", "phi4_repacked": "true"},
    "gw2": {"phi4_engine": "ollama", "phi4_quantization": "q4_0"},
    "gw3": {"phi4_engine": "ollama", "phi4_quantization": "q4_0", "phi4_service_manager": "compose"},
}
DAEMON = '{\n    "debug": false,\n    "labels": ["site=plant"]\n}\n'
OLLAMA = ("gw2", "gw3")


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = own_store(ready.store, folder / "store")
    name = f"fleet-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose(PROFILES), kind=KINDS, with_mirror=True)
    try:
        found = fronted.open_fronted(made, store, folder, WANTED)
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
def before(site: Site) -> dict[str, fronted.Tree]:
    """Every host before anything was done to it."""
    return fronted.trees(site)


def test_one_run_serves_with_every_deployment(site: Site, before: dict[str, fronted.Tree]) -> None:
    assert set(before) == set(site.names)
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(site.names, "done")
    receipts = {name: site.host(name).receipt() for name in site.names}
    engines = {name: (found["engine"], found["service_manager"]) for name, found in receipts.items()}
    assert engines == {"gw1": ("onnx", "systemd"), "gw2": ("ollama", "systemd"), "gw3": ("ollama", "compose")}


def test_clients_use_every_engine_alike_through_its_gateway(site: Site) -> None:
    for name in site.names:
        fronted.clients_use(site, name)
    # Routes of an engine itself, by which anybody could unload its model.
    assert site.host("gw2").sh("curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1:8443/api/tags") == "404"


def test_the_native_engine_reads_weights_that_were_repacked_on_the_host_whatever_becomes_of_them(site: Site) -> None:
    host = site.host("gw1")
    mapped = host.sh("cat /proc/$(pgrep -f '[p]hi4_engine.worker')/maps")  # not the shell that looks for it
    assert "/var/lib/phi4-edge/repacked/" in mapped and "model.onnx.data" not in mapped
    host.sh("printf damage | dd of=$(echo /var/lib/phi4-edge/repacked/*/weights.bin) bs=1 seek=4096 conv=notrunc && "
            "systemctl restart phi4-edge")  # fmt: skip
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.run("status").expect(0)


def test_no_engine_cuts_a_prompt_in_silence_behind_its_gateway(site: Site) -> None:
    refused = {"status": 400, "kind": "BadRequestError", "code": "context_length_exceeded"}
    for name in site.names:
        assert fronted.ask(site, name, "far too long " * 9000) == refused, name
    for name in OLLAMA:
        host = site.host(name)
        assert "measured=long" in host.sh("journalctl -u phi4-edge-gateway -o cat --no-pager | tail -n 5"), name
        assert "ready to measure prompts" in host.sh("journalctl -u phi4-edge-measure -o cat --no-pager"), name
    host = site.host("gw2")
    host.sh("systemctl stop phi4-edge-measure")
    try:
        assert fronted.ask(site, "gw2", "far too long " * 9000)["text"].strip()
    finally:
        host.sh("systemctl start phi4-edge-measure")


def test_verify_status_and_ask_know_every_engine(site: Site) -> None:
    fronted.commands_know(site)


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
    fronted.again_changes_nothing(site)


def test_a_container_passes_the_checks_of_the_docker_benchmark(site: Site) -> None:
    fronted.passes_the_benchmark(site.host("gw3"))


def test_dockers_configuration_was_merged(site: Site) -> None:
    found = json.loads(site.host("gw3").sh("cat /etc/docker/daemon.json"))
    assert found["labels"] == ["site=plant"]
    assert found["log-opts"], "nothing of ours was added"


def test_a_killed_container_comes_back(site: Site) -> None:
    host = site.host("gw3")
    host.sh("docker kill $(docker ps -q --filter label=phi4-edge.release)")
    host.sh("for i in $(seq 60); do curl -sf http://127.0.0.1:8080/api/version && exit 0; sleep 1; done; exit 1")
    until(site, "gw3", serving)


def test_remove_leaves_every_host_as_it_was(site: Site, before: dict[str, fronted.Tree]) -> None:
    fronted.removed(site, before)
