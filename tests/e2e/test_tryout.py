"""Engines are tried on a host that serves: each is proven and measured, and what served comes back whatever happens."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import schema
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, serving_site
from tests.e2e.test_switch_engine import OLLAMA, ONNX, break_model

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

NAME = "gw1"
QUICK = ("--rounds", "1", "--words", "40", "--tokens", "32", "--no-full-context", "--yes", "--output", "json")
BENCH = jsonschema.Draft202012Validator(
    schema("bench"),
    registry=Registry().with_resources([("result.schema.json", Resource.from_contents(schema("result")))]),
)


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tryout")
    with serving_site(ready, folder, f"tryout-{os.getpid()}", ("gateway-6gb",), ONNX) as found:
        yield found


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(NAME)]


def tried(site: Site, code: int) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What a bench of both engines says: of each engine, and of the host."""
    found = json.loads(site.run("bench", "--engines", "onnx,ollama:q4_0", *QUICK).expect(code).out)
    BENCH.validate(found)
    (entry,) = found["tried"]
    return {one["engine"]: one for one in found["hosts"]}, entry


def serves(site: Site, before: dict[str, Any]) -> None:
    """The host serves this release, as its receipt says, and answers."""
    host, names = site.host(NAME), ("release", "plan_fingerprint", "engine", "quantization", "model")
    now = host.receipt()
    assert {name: now[name] for name in names} == {name: before[name] for name in names}
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.run("status").expect(0)


@pytest.mark.full
def test_both_are_measured_and_what_served_comes_back_also_the_second_time(site: Site) -> None:
    served = site.host(NAME).receipt()
    for _ in range(2):
        hosts, entry = tried(site, 0)
        assert [(name, one["trial"]["served"]) for name, one in hosts.items()] == [("onnx", True), ("ollama", False)]
        assert hosts["onnx"]["trial"]["setup_seconds"] is None and hosts["ollama"]["trial"]["setup_seconds"] > 0
        assert all(one["trial"]["tool_calls"]["asked"] == 2 for one in hosts.values())
        best = max(hosts.values(), key=lambda one: one["measured"]["decode"])
        assert entry["fastest"]["engine"] == best["engine"]
        assert (entry["back"]["outcome"], entry["back"]["release"]) == ("done", served["release"])
        serves(site, served)
    # Plans have both figures from now on.
    kept = json.loads(site.host(NAME).sh("cat /var/lib/phi4-edge/bench.json"))["measured"]
    assert {(one["engine"], one["quantization"]) for one in kept} == {("onnx", "int4"), ("ollama", "q4_0")}


@pytest.mark.parametrize(("sent", "code"), rows(((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)), ()))
def test_what_serves_comes_back_after_a_run_that_was_cut(site: Site, sent: signal.Signals, code: int) -> None:
    served, said = site.host(NAME).receipt(), []
    words = ("--engines", "ollama:q4_0", *QUICK, "--rounds", "20")
    with site.cli.start("bench", *site.inventories, *words) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line)
            if line.startswith("Measuring"):
                running.send_signal(sent)
    assert running.returncode == code, "".join(said)
    if sent == signal.SIGKILL:
        assert site.host(NAME).receipt()["engine"] == "ollama"
        command = next(line for line in said if line.startswith("  phi4-edge rollback "))
        shown = site.cli.run("rollout", "show", "last").expect(0).out
        assert f"--to {served['release']}" in " ".join(shown.split()), shown
        site.cli.run(*command.split()[1:], "--yes").expect(0)
    serves(site, served)


@pytest.mark.full
def test_one_that_fails_its_gate_is_told_and_what_served_is_back(site: Site) -> None:
    site.write({NAME: OLLAMA})
    site.run("provision", "--yes").expect(0)
    break_model(Store(site.cli.store))
    served = site.host(NAME).receipt()
    hosts, entry = tried(site, 4)
    assert hosts["onnx"]["outcome"] == "rolled_back" and "back on" in hosts["onnx"]["reason"]
    assert hosts["ollama"]["outcome"] == "done", hosts["ollama"]
    assert entry["fastest"]["engine"] == "ollama" and entry["back"] is None
    assert site.host(NAME).receipt() == served
    serves(site, served)
