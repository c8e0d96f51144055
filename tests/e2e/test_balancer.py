"""Three gateways behind one address: a rollout under load fails no request, and nothing is left of a balancer."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.gateway import Cli, Gateway

# Minutes of four hosts: `make tables` runs it.
pytestmark = [pytest.mark.e2e, pytest.mark.full]

CLIENTS = 8
PORT = 8443


@dataclass
class Site:
    """Gateways and a balancer, as their operator and as a client sees them."""

    cli: Cli
    lab: lab_room.Lab
    inventory: Path
    gateways: list[str]
    balancer: str
    key: str = ""
    found: Counter[str] = field(default_factory=Counter)

    def write(self, **wanted: object) -> None:
        login = [line for line in self.lab.inventory.read_text().splitlines() if line.startswith("ansible_")]
        lines = ["[gateways]", *(f"{name} ansible_host={self.lab.host(name).address}" for name in self.gateways)]
        lines += ["[balancers]", f"{self.balancer} ansible_host={self.address}", "[all:vars]", *login]
        lines += ["phi4_bind=0.0.0.0", "[gateways:vars]", "phi4_model=tiny", "phi4_gateway=true"]
        lines += [f"{name}={value}" for name, value in wanted.items()]
        self.inventory.write_text("\n".join(lines) + "\n")

    @property
    def address(self) -> str:
        return str(self.lab.host(self.balancer).address)

    def run(self, command: str, *words: str) -> None:
        self.cli.run(command, self.inventory, *words, "--yes").expect(0)

    def ask(self, body: dict[str, Any]) -> tuple[int, str]:
        """Status and text of an answer, over a connection of its own."""
        trusted = ssl.create_default_context(cafile=self.cli.home / "config" / "ca.pem")
        connection = http.client.HTTPSConnection(self.address, PORT, timeout=120, context=trusted)
        with contextlib.closing(connection):
            head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), head)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def client(self, number: int, done: threading.Event) -> None:
        """Asks until it is done, every second time for a stream; what it gets is counted."""
        turn = 0
        while not done.is_set():
            turn += 1
            stream = bool(turn % 2)
            messages = [{"role": "user", "content": f"Client {number}, talk {turn // 5}: say hello."}]
            for said in range(turn % 5):
                messages += [{"role": "assistant", "content": f"Hello {said}."}, {"role": "user", "content": "Again."}]
            status, text = self.ask(
                {"model": "phi-4-mini-instruct", "messages": messages, "max_tokens": 16, "stream": stream}
            )
            whole = "[DONE]" in text and '"error"' not in text if stream else '"choices"' in text
            self.found["whole" if status == 200 and whole else f"{status}: {text[:200]}"] += 1


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three gateways that know the key of the balancer in front of them."""
    profile = lab_room.load_profiles().get("gateway-6gb")
    lab = lab_room.up(f"balancer-{tmp_path_factory.getbasetemp().name}", [profile] * 4)
    try:
        warm_engine.bring(ready, lab)
        names = [host.name for host in lab.hosts]
        cli = Cli(ready.store, tmp_path_factory.mktemp("operator"))
        found = Site(cli, lab, tmp_path_factory.mktemp("site") / "gateways.ini", names[:3], names[3])
        found.write()
        cli.run("trust", "ca").expect(0)
        found.key = cli.run("key", "add", found.inventory, "north").expect(0).out.strip()
        found.run("provision")
        found.run("balance")
        found.run("provision")
        yield found
    finally:
        lab_room.down(lab.name)


def test_a_rollout_fails_no_request(site: Site) -> None:
    done, errors = threading.Event(), []

    def client(number: int) -> None:
        try:
            site.client(number, done)
        except (OSError, http.client.HTTPException) as error:
            errors.append(error)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    try:
        site.write(phi4_max_tokens=777)
        before = [Gateway(site.lab, name).sh("readlink /opt/phi4-edge/current") for name in site.gateways]
        first = site.gateways[0]
        site.run("balance", "--drain", first)
        site.run("provision", "--limit", first)
        site.run("balance", "--ready", first)
        # It drains those that it changes by itself.
        site.run("provision", "--canary", "0", "--wave", "1", "--bake", "0")
        after = [Gateway(site.lab, name).sh("readlink /opt/phi4-edge/current") for name in site.gateways]
    finally:
        done.set()
        for thread in clients:
            thread.join(180)
    assert all(one != other for one, other in zip(before, after, strict=True)), "each has a new release"
    assert errors == []
    assert set(site.found) == {"whole"}, site.found
    assert site.found["whole"] > 100


def test_a_second_run_changes_nothing_and_nothing_is_left_of_one_that_is_removed(site: Site) -> None:
    result = site.cli.run("balance", site.inventory, "--yes", "--output", "json").expect(0)
    assert result.outcomes() == {site.balancer: "unchanged"}
    key = Gateway(site.lab, site.balancer).sh("stat -c '%a %U' /var/lib/phi4-edge/balancer/key.cfg")
    assert key.strip() == "600 root"
    site.run("balance", "--remove")
    host = Gateway(site.lab, site.balancer)
    assert host.sh("ls /etc/systemd/system | grep phi4-edge || true").strip() == ""
    assert host.sh("ls /var/lib/phi4-edge/balancer 2>&1", None).startswith("ls: cannot access")
    assert host.sh(f"ss -Hltn 'sport = :{PORT}'") == ""
