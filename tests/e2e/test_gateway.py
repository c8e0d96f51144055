"""A gateway that others use: keys, TLS, changes of both while answers stream, and no trace once it is not wanted."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.door import PORT, Door
from tests.e2e.gateway import Cli, Gateway
from tests.unit.artifacts.certificates.crafted import authority, made

pytestmark = [pytest.mark.e2e]

MODEL = "phi-4-mini-instruct"
GATEWAY = {"phi4_gateway": "true", "phi4_bind": "0.0.0.0", "phi4_gateway_names": "door.example"}


@pytest.fixture(scope="module")
def lab(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab_room.Lab]:
    found = lab_room.up(f"door-{tmp_path_factory.getbasetemp().name}", [lab_room.load_profiles().get("gateway-6gb")])
    yield found
    lab_room.down(found.name)


@pytest.fixture(scope="module")
def clean(lab: lab_room.Lab) -> dict[str, str]:
    """The host before anything of ours was there; the packages of HAProxy and nftables may come, and stay."""
    Gateway(lab, lab.hosts[0].name).sh(
        "apt-get -q update && apt-get -q install -y haproxy nftables && systemctl disable --now haproxy"
    )
    return Gateway(lab, lab.hosts[0].name).tree()


@pytest.fixture(scope="module")
def door(ready: Cli, lab: lab_room.Lab, clean: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Door:
    """The host has a gateway, and two clients have keys."""
    folder = tmp_path_factory.mktemp("door")
    home = tmp_path_factory.mktemp("operator")
    found = Door(Cli(ready.store, home), lab, folder)
    warm_engine.bring(ready, lab)
    found.write(**GATEWAY, phi4_gateway_keys=folder / "keys.txt")
    assert "found no keys of gateways" in found.provision().expect(3).out
    found.add("north")
    assert "found no CA" in found.provision().expect(3).out
    found.cli.run("trust", "ca").expect(0)
    found.provision().expect(0)
    warm_engine.keep(ready, lab, lab.hosts[0].name)
    return found


def test_clients_with_a_key_get_an_answer_and_others_do_not(door: Door) -> None:
    assert door.ask(door.keys["north"])["text"].strip()
    for wrong in ("none", "p4e_" + "A" * 43, door.keys["north"][:-1] + "-"):
        assert door.ask(wrong) == {"status": 401, "kind": "AuthenticationError", "code": "invalid_api_key"}
    assert door.get("/health") == 200
    for path in ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses"):
        assert door.get(path) == 401, path
    for path in ("/", "/metrics", "/docs", "/openapi.json", "/api/tags", "/stats", "/v1/../metrics", "/health/.."):
        assert door.get(path) in (401, 404), path
        assert door.get(path, door.keys["north"]) in (403, 404), path
    assert door.host.sh("ss -Hltn 'sport = :8080'").split()[3].startswith("127.0.0.1:"), "the engine is on loopback"


def test_the_command_asks_through_it_as_clients_do(door: Door) -> None:
    file = door.folder / "north.key"
    file.write_text(door.keys["north"] + "\n")
    through = ["--via", "gateway", "--gateway-key", str(file)]
    assert door.run("ask", "Say hello.", "--max-tokens", "12", *through).expect(0).out.strip()
    assert "answered" in door.run("verify", "--only", "math", "--max-tokens", "8", *through).expect(0).err
    file.write_text("p4e_wrong\n")
    assert "the key was refused (HTTP 401)" in door.run("ask", "Say hello.", *through).expect(4).err


def test_users_of_the_host_do_not_get_past_it(door: Door) -> None:
    assert {user: door.engine(user) for user in ("root", "haproxy", "nobody", "gateway")} == {
        "root": "200", "haproxy": "200", "nobody": "000", "gateway": "000",
    }  # fmt: skip
    assert door.run("ask", "Say hello.", "--max-tokens", "8").expect(0).out.strip(), "as root, by sudo"
    refused = door.run("ask", "Say hello.", "--extra-vars", "ansible_become=false").expect(4).err
    assert "is for its gateway and root alone" in refused and "--via gateway" in refused
    tables = door.host.sh("nft list tables").splitlines()
    assert "table inet phi4_edge" in tables
    engine = door.host.sh("systemctl show phi4-edge -p MainPID,InvocationID")
    door.host.sh("nft flush ruleset")
    assert door.engine("nobody") == "200"
    assert "phi4-edge-guard.service is without effect" in door.run("status").expect(2).out
    assert door.provision().expect(0).outcomes() == {door.host.name: "done"}
    assert door.engine("nobody") == "000" and door.get("/health") == 200
    assert door.host.sh("systemctl show phi4-edge -p MainPID,InvocationID") == engine, "it is no reason for a restart"


def test_a_second_run_changes_nothing(door: Door) -> None:
    assert door.provision().expect(0).outcomes() == {door.host.name: "unchanged"}


def test_no_old_protocol_and_no_weak_cipher_is_spoken(door: Door) -> None:
    place = ["-connect", f"{door.address}:{PORT}", "-CAfile", str(door.ca), "-verify_return_error"]

    def talks(*words: str) -> bool:
        argv = ["openssl", "s_client", *place, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode == 0 and "Verify return code: 0" in done.stdout

    assert talks("-tls1_2") and talks("-tls1_3")
    assert talks("-verify_hostname", "door.example") and not talks("-verify_hostname", "other.example")
    for old in ("-tls1", "-tls1_1"):
        assert not talks(old, "-cipher", "ALL:@SECLEVEL=0"), old
    for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "NULL:aNULL"):
        assert not talks("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0"), weak


def test_keys_change_while_an_answer_streams_and_nothing_breaks(door: Door) -> None:
    before, said, pieces = door.processes(), threading.Event(), []

    def listen() -> None:
        context = ssl.create_default_context(cafile=door.ca)
        connection = http.client.HTTPSConnection(door.address, PORT, timeout=60, context=context)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "stream": True, "max_tokens": 1500,
                "ignore_eos": True}  # fmt: skip
        head = {"Authorization": f"Bearer {door.keys['north']}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), head)
        answer = connection.getresponse()
        assert answer.status == 200
        for line in answer:
            pieces.append(line)
            said.set()
        connection.close()

    client = threading.Thread(target=listen)
    client.start()
    assert said.wait(30)
    south, west = door.add("south", "--per-minute", "3"), door.add("west", "--tokens-per-day", "10")
    door.cli.run("key", "revoke", door.inventories[0], "north", *door.where).expect(0)
    assert door.provision().expect(0).outcomes() == {door.host.name: "done"}
    client.join(120)
    assert any(b"[DONE]" in piece for piece in pieces), "the stream that had begun came to its end"
    assert door.processes() == before, "neither the engine nor the gateway was started anew"
    assert door.get("/v1/models", door.keys["north"]) == 401
    assert [door.get("/v1/models", south) for _ in range(4)] == [200, 200, 200, 429]
    assert door.ask(west)["text"]
    spent = {"status": 429, "kind": "RateLimitError", "code": "insufficient_quota"}
    assert door.ask(west) == spent
    door.host.sh("systemctl restart phi4-edge")
    give_up = time.monotonic() + 60
    while door.get("/health") != 200:
        assert time.monotonic() < give_up
    assert door.ask(west) == spent, "what it has used outlasts the engine"


def test_metrics_come_whole_to_who_has_their_key(door: Door) -> None:
    key = door.add("metrics")
    engine = door.host.sh("systemctl show phi4-edge -p MainPID,InvocationID")
    door.host.sh("systemctl stop phi4-edge-metrics")
    door.provision().expect(0)
    assert door.host.sh("systemctl show phi4-edge -p MainPID,InvocationID") == engine, "it is no reason for a restart"
    assert door.get("/v1/models", key) == 403
    connection = http.client.HTTPSConnection(
        door.address, PORT, timeout=30, context=ssl.create_default_context(cafile=door.ca)
    )
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert answer.status == 200
    assert [line for line in page.splitlines() if "scrape_part_success" in line and line.endswith(" 0")] == []
    for sample in (
        'phi4_edge_unit_active{unit="phi4-edge.service"} 1',
        "vllm:",
        "phi4_edge_receipt_present 1",
        'key="west"',
    ):
        assert sample in page, page
    assert "phi4_edge_engine_up" in page and "phi4_edge_certificate_not_after_timestamp_seconds" in page


def test_what_was_changed_on_the_host_is_put_right(door: Door) -> None:
    key = door.add("east")
    door.host.sh("echo 0000 east:0:0 > /var/lib/phi4-edge/gateway/keys.map; systemctl stop phi4-edge-gateway")
    assert "phi4-edge-gateway.service is stopped" in door.run("status").expect(2).out
    assert door.provision().expect(0).outcomes() == {door.host.name: "done"}
    assert door.get("/v1/models", key) == 200
    shown = json.loads(door.run("status", "--output", "json").expect(0).out)["hosts"][0]
    assert shown["gateway"] == "active, enabled" and shown["certificate_expires"] > "2026"


def test_a_new_ca_gives_a_new_certificate_and_no_secret_is_left_behind(door: Door, tmp_path: Path) -> None:
    old = tmp_path / "old.pem"
    old.write_text(door.cli.run("trust", "ca", "--pem").expect(0).out)
    door.cli.run("trust", "ca", "--rotate").expect(0)
    door.provision().expect(0)
    assert door.get("/health") == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context(cafile=old).wrap_socket(
            __import__("socket").create_connection((door.address, PORT), timeout=10), server_hostname=door.address
        )
    secret = door.host.sh("sed -n '/PRIVATE KEY/{n;p;q}' /var/lib/phi4-edge/gateway/certificate.pem").strip()
    found = subprocess.run(
        ["grep", "-rlF", "--", secret, door.cli.home, door.folder], capture_output=True, text=True, check=False
    )
    assert len(secret) == 64 and found.stdout == ""
    for hidden in (*door.keys.values(), secret):
        assert hidden not in door.host.sh("journalctl --no-pager -o cat | cat")


@pytest.mark.full
def test_clients_need_a_certificate_too_where_that_is_wanted(door: Door, tmp_path: Path) -> None:
    now, key, ca = int(time.time()), door.add("west"), door.folder / "clients.pem"
    first, second = (authority(name, begins=now - 60, ends=now + 7200) for name in ("first", "second"))
    north = made("north", (), first, begins=now - 60, ends=now + 7200).write(tmp_path / "north.pem")
    (file := tmp_path / "west.key").write_text(key)
    asked = ["ask", "Say hello.", "--max-tokens", "8", "--via", "gateway", "--gateway-key", str(file)]
    shown = [*asked, "--client-certificate", str(north)]
    door.write(**GATEWAY, phi4_gateway_keys=door.folder / "keys.txt", phi4_gateway_client_ca=ca)
    assert f"found no file {ca}" in door.provision().expect(3).out
    ca.write_bytes(first.pem)
    assert door.provision().expect(0).outcomes() == {door.host.name: "done"}
    assert (door.get("/health"), door.get("/v1/models"), door.get("/v1/models", key)) == (200, 403, 403)
    assert door.run(*shown).expect(0).out.strip()
    assert "No client certificate was sent" in door.run(*asked).expect(4).err
    assert door.provision().expect(0).outcomes() == {door.host.name: "unchanged"}
    before = door.processes()
    ca.write_bytes(second.pem)
    assert door.provision().expect(0).outcomes() == {door.host.name: "done"}
    assert door.processes() == before, "another CA is taken by a reload"
    assert "not signed by a CA that is known" in door.run(*shown).expect(4).err
    door.write(**GATEWAY, phi4_gateway_keys=door.folder / "keys.txt")
    door.provision().expect(0)
    assert door.get("/v1/models", key) == 200


def test_without_it_nothing_of_it_is_left(door: Door, clean: dict[str, str]) -> None:
    door.write()
    door.provision().expect(0)
    left = door.host.sh("ls /var/lib/phi4-edge/gateway /etc/systemd/system/phi4-edge-gateway.service 2>&1", None)
    assert "phi4-edge-gateway.service': No such file" in left
    assert door.host.sh("ss -Hltn 'sport = :8443'") == ""
    assert "phi4_edge" not in door.host.sh("nft list tables") and door.engine("nobody") == "200"
    door.run("remove", "--yes").expect(0)
    assert door.host.tree() == clean
