"""The engine's port against the other users of a gateway: it is systemd's, from the first switch to the removal.

The tests build on each other: one host, which each test leaves serving.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab import faults
from tests.e2e import warm_engine
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.port_users import ENOUGH, HAMMER, SQUATTER

pytestmark = pytest.mark.e2e

ASK = ("--max-tokens", "8", "--limit", "gw1")
# A release of before there were sockets: its service binds the port itself.
WITHOUT_SOCKET = """
cd /opt/phi4-edge/releases/{release} && rm phi4-edge.socket &&
sed -i -e /^Requires=phi4-edge.socket/d -e 's/^After=phi4-edge.socket /After=/' \
  -e 's/^SocketBindDeny=any/&\\nSocketBindAllow=tcp:8080/' phi4-edge.service
"""


@pytest.fixture(scope="module")
def port_lab() -> Iterator[lab_room.Lab]:
    name = f"port-{os.getpid()}"
    yield lab_room.up(name, [lab_room.load_profiles().get("gateway-6gb")])
    lab_room.down(name)


@pytest.fixture(scope="module")
def host(port_lab: lab_room.Lab) -> Gateway:
    return Gateway(port_lab, port_lab.hosts[0].name)


@pytest.fixture(scope="module")
def clean(host: Gateway) -> dict[str, str]:
    """The host before phi4-edge has seen it."""
    return host.tree()


@pytest.fixture(scope="module")
def served(ready: Cli, port_lab: lab_room.Lab, host: Gateway, clean: dict[str, str]) -> Cli:
    host.sh("cat > /home/nosudo/squatter.py", stdin=SQUATTER)
    host.sh("cat > /home/nosudo/hammer.py", stdin=HAMMER)
    warm_engine.bring(ready, port_lab)
    ready.run("provision", port_lab.inventory, "--yes").expect(0)
    warm_engine.keep(ready, port_lab, host.name)
    return ready


@pytest.fixture
def gateways(host: Gateway) -> list[Gateway]:
    return [host]


@contextmanager
def by_a_user(host: Gateway, program: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A program of a user without rights runs there until the end of the block; its output is the process's."""
    host.sh(f"rm -f {ENOUGH}")
    argv = ["sudo", "-u", "nosudo", "timeout", "120", "python3", f"/home/nosudo/{program}.py", *map(str, words)]
    process = subprocess.Popen(
        lab_room.ssh_command(host.lab, host.lab.host(host.name), argv),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        host.sh(f"touch {ENOUGH}")
        process.wait(130)
        if process.stdout is not None:
            process.stdout.close()


def other(lab: lab_room.Lab, folder: Path, *settings: str) -> Path:
    """An inventory that sets more."""
    path = folder / "other.ini"
    path.write_text(lab.inventory.read_text() + "".join(f"{line}\n" for line in settings))
    return path


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(host: Gateway, process: subprocess.Popen[str]) -> str:
    """The last word of a program that is told to end."""
    assert process.stdout is not None
    host.sh(f"touch {ENOUGH}")
    return process.stdout.read().strip()


def units(host: Gateway) -> list[str]:
    """State of the port and of the service, now and after a boot."""
    names = "phi4-edge.socket phi4-edge.service"
    return host.sh(f"systemctl is-active {names}; systemctl is-enabled {names}", code=None).split()


SOCKET = "/etc/systemd/system/phi4-edge.socket"
GOOD = ["active", "active", "enabled", "enabled"]


def test_nobody_gets_the_port_while_the_engine_is_ended_in_every_way(
    served: Cli, port_lab: lab_room.Lab, host: Gateway
) -> None:
    """Case 05: 1,100 idle connections of a user who wants the port, and an engine that is killed meanwhile."""
    before = host.properties()
    with by_a_user(host, "squatter", 8080, 1100, 100) as squatter:
        assert first_line(squatter) == "held 1100"
        served.run("ask", port_lab.inventory, "Hello", *ASK).expect(0)
        assert host.properties()["MainPID"] == before["MainPID"], "idle connections end nothing"
        host.sh("systemctl restart phi4-edge")
        host.sh("systemctl kill --signal KILL phi4-edge")
        # It waits in systemd's socket until somebody serves again.
        assert json.loads(host.sh("curl -sS -m 30 http://127.0.0.1:8080/v1/models"))["object"] == "list"
        host.sh("systemctl stop phi4-edge; sleep 1; systemctl start phi4-edge")
        served.run("ask", port_lab.inventory, "Hello", *ASK).expect(0)
        assert rest(host, squatter) == "no luck"
    served.run("status", port_lab.inventory).expect(0)


@pytest.mark.parametrize(
    ("harm", "seen", "drifted"),
    rows((
        ("systemctl stop phi4-edge.socket", "phi4-edge.socket", False),
        ("systemctl disable phi4-edge.socket", "phi4-edge.socket", False),
        (f"sed -i s/^FileDesc/Backlog=1\\nFileDesc/ {SOCKET}; systemctl daemon-reload", SOCKET, True),
        (f"rm {SOCKET}; systemctl daemon-reload", SOCKET, True),
    ), ()),
)  # fmt: skip
def test_a_port_that_is_not_as_it_was_committed_is_put_right(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, harm: str, seen: str, drifted: bool
) -> None:
    host.sh(harm)
    status = json.loads(served.run("status", port_lab.inventory, "--output", "json").expect(2).out)["hosts"][0]
    assert status["state"] == ("drifted" if drifted else "stopped"), status
    plan = json.loads(served.run("plan", port_lab.inventory, "--output", "json").expect(0).out)["plans"][0]
    assert plan["action"] == "repair"
    assert seen in {change["what"] for change in plan["changes"]}
    served.run("provision", port_lab.inventory, "--yes").expect(0)
    assert units(host) == GOOD
    served.run("status", port_lab.inventory).expect(0)


@pytest.mark.full
def test_an_engine_that_cannot_start_keeps_its_port_and_starts_no_loop(
    served: Cli, port_lab: lab_room.Lab, host: Gateway
) -> None:
    path = "/opt/phi4-edge/current/environment"
    host.sh(f"sed -i s/^PHI4_QUEUE=.*/PHI4_QUEUE=none/ {path}; systemctl restart phi4-edge", code=None)
    assert units(host)[:2] == ["active", "failed"]
    with by_a_user(host, "squatter", 8080, 5, 100) as squatter:
        refused = host.sh("curl -sS -m 20 http://127.0.0.1:8080/v1/models")
        assert json.loads(refused)["error"]["code"] == "engine_failed"
        assert "held" in first_line(squatter)
        time.sleep(20)  # a loop would have told of itself by then
        assert rest(host, squatter) == "no luck"
    said = host.sh("journalctl -u phi4-edge --since=-40s -o cat --no-pager")
    assert 1 <= said.count("PHI4_QUEUE is 'none'") <= 2, said
    served.run("status", port_lab.inventory).expect(2)
    served.run("provision", port_lab.inventory, "--yes").expect(0)
    assert units(host) == GOOD


def test_a_switch_goes_through_while_clients_start_the_old_release_again_and_again(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, tmp_path: Path
) -> None:
    with by_a_user(host, "hammer", 8080, 100):
        done = served.run("provision", other(port_lab, tmp_path, "phi4_threads=1"), "--yes", "--output", "json").expect(
            0
        )
    assert done.outcomes() == {host.name: "done"}
    assert host.receipt()["threads"] == 1
    running = host.sh("tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value phi4-edge)/cmdline")
    assert host.receipt()["release"] in running
    assert host.sh("ls /run/phi4-edge-switch", code=None) == ""


@pytest.mark.full
def test_another_port_is_taken_and_the_old_one_is_free(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, tmp_path: Path
) -> None:
    elsewhere = ("phi4_threads=1", "phi4_port=8099", "phi4_bind=127.0.0.2")
    served.run("provision", other(port_lab, tmp_path, *elsewhere), "--yes").expect(0)
    assert units(host) == GOOD
    listening = host.sh("ss -Hltn")
    assert "127.0.0.2:8099" in listening
    assert ":8080" not in listening
    assert json.loads(host.sh("curl -sS http://127.0.0.2:8099/health"))["status"] == "healthy"
    served.run("rollback", port_lab.inventory, "--yes").expect(0)
    assert "127.0.0.1:8080" in host.sh("ss -Hltn")


@pytest.mark.full
def test_releases_with_and_without_a_socket_follow_each_other(
    served: Cli, port_lab: lab_room.Lab, host: Gateway
) -> None:
    served.run("provision", port_lab.inventory, "--yes").expect(0)
    old = host.receipt()["previous_release"]
    host.sh(WITHOUT_SOCKET.format(release=old))
    served.run("rollback", port_lab.inventory, "--yes").expect(0)
    assert host.receipt()["release"] == old
    assert host.sh("ls /etc/systemd/system/*/phi4-edge.socket /etc/systemd/system/phi4-edge.socket", code=None) == ""
    assert host.properties()["ActiveState"] == "active"
    served.run("status", port_lab.inventory).expect(0)
    served.run("provision", port_lab.inventory, "--yes").expect(0)
    assert units(host) == GOOD


@pytest.mark.full
def test_an_address_of_another_host_is_refused(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, tmp_path: Path
) -> None:
    before = host.receipt()["release"]
    done = served.run(
        "provision", other(port_lab, tmp_path, "phi4_bind=192.0.2.77", "phi4_open=true"), "--yes", "--output", "json"
    )
    assert done.expect(4).outcomes() == {host.name: "rolled_back"}
    assert "192.0.2.77" in done.result["hosts"][0]["reason"]
    assert host.receipt()["release"] == before
    assert units(host) == GOOD


def test_after_a_boot_the_port_is_there_before_anybody(served: Cli, port_lab: lab_room.Lab, host: Gateway) -> None:
    names = "phi4-edge.socket systemd-user-sessions.service"
    faults.power_off(port_lab, host.name)
    faults.power_on(port_lab, host.name)
    end = time.monotonic() + 60
    while host.sh("curl -s -m 5 http://127.0.0.1:8080/health", code=None).count("healthy") == 0:
        assert time.monotonic() < end, host.journal()
        time.sleep(0.5)
    port, users = map(int, host.sh(f"systemctl show {names} -p ActiveEnterTimestampMonotonic --value").split())
    assert port < users
    served.run("status", port_lab.inventory).expect(0)


def test_a_port_that_somebody_else_has_is_named(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, tmp_path: Path
) -> None:
    with by_a_user(host, "squatter", 8111, 0, 100) as squatter:
        assert first_line(squatter) == "held 0"
        assert first_line(squatter) == "bound"
        done = served.run("provision", other(port_lab, tmp_path, "phi4_port=8111"), "--yes", "--output", "json").expect(
            4
        )
        assert done.outcomes() == {host.name: "rolled_back"}
        assert "of user nosudo" in done.result["hosts"][0]["reason"], done.result["hosts"][0]["reason"]
    assert units(host) == GOOD


def test_nothing_is_left_after_the_removal(
    served: Cli, port_lab: lab_room.Lab, host: Gateway, clean: dict[str, str]
) -> None:
    served.run("remove", port_lab.inventory, "--yes").expect(0)
    assert host.tree() == clean
    assert host.sh("systemctl list-units --all --no-legend 'phi4-edge*'").strip() == ""
    assert "8080" not in host.sh("ss -Hltn")
