"""A site whose hosts all have a gateway in front of their engine, and what holds of every engine behind one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from phi4_edge.lab.model import Lab
from tests.e2e import container_bench, openai_client
from tests.e2e.gateway import Gateway
from tests.e2e.site import Site, open_site

# The package is there before, as it stays.
THROUGH = {"phi4_gateway": "true", "phi4_bind": "0.0.0.0"}
HAPROXY = "apt-get -q update && apt-get -q install -y haproxy nftables && systemctl disable --now haproxy"
Tree = dict[str, str]


def open_fronted(made: Lab, store: Path, folder: Path, wanted: Mapping[str, Mapping[str, object]]) -> Site:
    """The site, whose hosts are wanted like this, each behind a gateway that one client has the key of."""
    found = open_site(made, store, folder)
    keys = folder / "keys.txt"
    (folder / "north.key").write_text(found.cli.run("key", "add", made.inventory, "north", "--keys", keys).out)
    found.cli.run("trust", "ca").expect(0)
    found.write({name: {**of_host, **THROUGH, "phi4_gateway_keys": keys} for name, of_host in wanted.items()})
    with ThreadPoolExecutor(len(wanted)) as pool:
        list(pool.map(lambda name: found.host(name).sh(HAPROXY), found.names))
    return found


def ask(site: Site, name: str, text: str = "Say hello.", key: str = "") -> dict[str, Any]:
    """What openai's own client gets through the gateway of a host, with the site's key or another one."""
    key = key or (site.folder / "north.key").read_text().strip()
    return openai_client.ask(site.lab.host(name).address, 8443, site.cli.home / "config" / "ca.pem", key, text)


def clients_use(site: Site, name: str) -> None:
    """A client with a key gets an answer there, one without is refused, and the engine listens on loopback alone."""
    host = site.host(name)
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1, name
    assert host.sh("ss -Hltn 'sport = :8080' | awk '{print $4}'").split() == ["127.0.0.1:8080"], name
    assert ask(site, name)["text"].strip(), name
    refused = ask(site, name, key="p4e_" + "A" * 43)
    assert refused == {"status": 401, "kind": "AuthenticationError", "code": "invalid_api_key"}, name


def commands_know(site: Site) -> None:
    """Every host is green for `verify`, serves for `status`, and answers `ask`."""
    document = json.loads(site.run("verify", "--output", "json").expect(0).out)
    assert {host["host"] for host in document["hosts"]} == set(site.names)
    for host in document["hosts"]:
        assert all(answer["answered"] for answer in host["answers"]), host
    counts = document["counts"]
    assert counts["well_formed"] == counts["tool_calls"] == 2 * len(site.names), document
    document = json.loads(site.run("status", "--output", "json").expect(0).out)
    assert {host["host"]: host["state"] for host in document["hosts"]} == dict.fromkeys(site.names, "serving")
    said = site.run("ask", "Say hello.", "--max-tokens", "8").expect(0).out
    assert all(f"{name}:" in said for name in site.names)


def again_changes_nothing(site: Site) -> None:
    """A second run finds every host as it is wanted."""
    done = site.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == dict.fromkeys(site.names, "unchanged")
    assert done.result["changed"] == 0


def passes_the_benchmark(host: Gateway) -> None:
    """The engine's container is as the benchmark for Docker wants it."""
    ids = host.sh("docker ps -q --filter label=phi4-edge.release").split()
    assert len(ids) == 1
    inspected = json.loads(host.sh(shlex.join(["docker", "inspect", *ids])))
    info = json.loads(host.sh("docker info --format '{{json .}}'"))
    processes = {inspected[0]["Id"]: host.sh(f"docker top {ids[0]}")}
    assert container_bench.findings(inspected, info, processes) == []


def trees(site: Site) -> dict[str, Tree]:
    """Every host's files, Docker's configuration byte for byte, its images and containers."""
    look = (
        "cat /etc/docker/daemon.json; docker images -q; docker ps -aq; docker volume ls -q; "
        "docker network ls --format '{{.Name}}'"
    )
    return {name: {**site.host(name).tree(), "docker": site.host(name).sh(look, code=None)} for name in site.names}


def removed(site: Site, before: Mapping[str, Tree]) -> None:
    """The removal leaves every host as it was."""
    site.run("remove", "--yes").expect(0)
    now = trees(site)
    for name, was in before.items():
        differ = {path: (was.get(path), now[name].get(path)) for path in {*was, *now[name]}}
        differ = {path: pair for path, pair in differ.items() if pair[0] != pair[1]}
        assert not differ, (name, dict(list(differ.items())[:20]))
