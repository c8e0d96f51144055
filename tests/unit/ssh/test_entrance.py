"""An engine that is closed to users of its host: its port is asked as root there, or it is said what is needed."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import listener
from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.errors import UnreachableError
from phi4_edge.inference import exchange
from phi4_edge.inference.exchange import AnsibleConnection
from phi4_edge.runner.access import Access
from phi4_edge.ssh import relay, stream, tunnel
from phi4_edge.ssh.errand import Rights
from tests.unit.ssh.test_tunnel import fake_ssh, port

__all__ = ["port"]

HOST = Host("gw1", "192.0.2.1", user="edge", ssh=SshSettings(python=sys.executable))
PASSWORD = "correct horse"
# The relay is told no by a kernel that guards the port, unless sudo begins it.
SSH = """
import os, re, sys
command = sys.argv[-1]
with open({log!r}, "a") as said:
    said.write(command[:40].replace("\\n", " ") + "\\n")
if "sudo" in command:
    os.execvp("sh", ["sh", "-c", command])
mark = re.search(r"\\b[0-9a-f]{{32}}\\b", command)[0]
print("Welcome\\n" + mark + ' {{"guarded": "Connection refused"}}', flush=True)
"""
# As sudo does without a terminal: the question on standard error, the answer byte by byte from standard input.
SUDO = """
import os, sys
words, wanted = sys.argv[1:], {wanted!r}
asking, prompt = "-n" not in words, words[words.index("-p") + 1] if "-p" in words else ""
if {refuses!r} or (wanted and not asking):
    sys.exit("sudo: a password is required")
for attempt in range(2 if wanted else 0):
    sys.stderr.write("[lecture] " + prompt)
    sys.stderr.flush()
    given = b""
    while not given.endswith(b"\\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("sudo: no password was provided")
        given += byte
    if given.decode().strip() == wanted:
        break
    sys.stderr.write("Sorry, try again.\\n")
words = words[words.index("root") + 1:]
os.execvp(words[0], words)
"""


class Site:
    """A host behind a stand-in for ssh, and its sudo."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        fake_ssh(folder, monkeypatch, SSH.format(log=str(self.log)))
        monkeypatch.setattr(listener, "judge", lambda _: listener.Judgement("ours"))

    def sudo(self, wanted: str = "", refuses: bool = False) -> None:
        path = self.folder / "sudo"
        path.write_text(f"#!{sys.executable}\n{SUDO.format(wanted=wanted, refuses=refuses)}\n")
        path.chmod(0o755)

    def asked(self) -> list[bool]:
        """Of each connection, whether it was made with sudo."""
        return ["sudo" in line for line in self.log.read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def way(port: int, entrance: tunnel.Entrance, host: Host = HOST) -> tunnel.Connection:
    return tunnel.http_connection(host, "127.0.0.1", port, pytest.fail, None, entrance)


def got(connection: tunnel.Connection) -> bytes:
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("wanted", ["", PASSWORD])
def test_it_is_asked_as_root_and_the_next_time_at_once(site: Site, port: int, wanted: str) -> None:
    site.sudo(wanted)
    entrance = tunnel.Entrance(wanted)
    for _ in range(2):
        assert got(way(port, entrance)) == b"piece 0\npiece 1\npiece 2\n"
    assert site.asked() == [False, True, True]


def test_a_password_that_nobody_asks_for_does_not_go_to_the_port(site: Site, port: int) -> None:
    site.sudo()
    assert got(way(port, tunnel.Entrance(PASSWORD))) == b"piece 0\npiece 1\npiece 2\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [("", r"root is not become: sudo: a password is required"), ("wrong", r"sudo with the given password: .*Sorry")],
)
def test_who_does_not_become_root_is_told_what_is_needed(site: Site, port: int, given: str, why: str) -> None:
    site.sudo(PASSWORD)
    with pytest.raises(stream.GuardedError, match=why) as error:
        got(way(port, tunnel.Entrance(given)))
    for words in ("127.0.0.1:", "gw1", "--ask-become-pass", "--via gateway --gateway-key"):
        assert words in str(error.value)
    assert isinstance(error.value, UnreachableError) and PASSWORD not in str(error.value)


def test_a_host_whose_inventory_forbids_root_is_not_asked_as_root(site: Site, port: int) -> None:
    site.sudo(refuses=True)
    host = Host("gw1", "192.0.2.1", user="edge", become=False)
    for _ in range(2):
        with pytest.raises(stream.GuardedError, match="it is not root that asks"):
            got(way(port, tunnel.Entrance(), host))
    assert site.asked() == [False, False]


def test_one_that_only_ansible_makes_root_of_goes_through_ansible(site: Site, port: int) -> None:
    host = Host("gw1", "192.0.2.1", user="edge", become_method="su", ssh=SshSettings(python=sys.executable))
    found = exchange.connector(Access(("x,",)))(host, "127.0.0.1", port, pytest.fail)
    assert isinstance(found, AnsibleConnection) and site.asked() == [False]


def test_no_secret_is_in_a_command() -> None:
    text = stream.relay_command(HOST, "127.0.0.1", 8080, "m" * 32, Rights(True, PASSWORD))
    assert PASSWORD not in text and text.startswith("/bin/sh -c 'sudo -H -S -p ")
    plain = stream.relay_command(HOST, "127.0.0.1", 8080, "m" * 32, Rights(True))
    assert plain.startswith(f"sudo -H -S -n -u root {sys.executable} ")


class Refusing(http.server.BaseHTTPRequestHandler):
    """Somebody listens; what happens to connections is the kernel's."""


@pytest.fixture
def listening() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        yield server.server_address[1]


@pytest.mark.parametrize(("user", "kind"), [(1000, "guarded"), (0, "refused")])
def test_a_refusal_where_somebody_listens_is_a_guard_s(
    monkeypatch: pytest.MonkeyPatch, listening: int, user: int, kind: str
) -> None:
    monkeypatch.setattr(relay.os, "geteuid", lambda: user)
    assert relay.refused(ConnectionRefusedError(111, "no"), "127.0.0.1", listening) == {kind: "[Errno 111] no"}
    assert list(relay.refused(TimeoutError("late"), "127.0.0.1", listening)) == ["refused"]
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    assert list(relay.refused(ConnectionRefusedError(111, "no"), "127.0.0.1", closed)) == ["refused"]


def test_this_machine_is_a_host_too(site: Site, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    site.sudo()
    closed = ConnectionRefusedError(111, "Connection refused")

    def refuse(*_: Any) -> None:
        raise closed

    monkeypatch.setattr(tunnel.socket, "create_connection", refuse)
    monkeypatch.setattr(relay.os, "geteuid", lambda: 1000)
    here = Host("here", connection="local", ssh=SshSettings(python=sys.executable))
    assert got(way(port, tunnel.Entrance(), here)) == b"piece 0\npiece 1\npiece 2\n"


@pytest.mark.skipif(not all(map(shutil.which, ("nft", "unshare", "setpriv"))), reason="needs nftables")
def test_the_relay_of_a_user_says_so_where_the_kernel_guards_the_port(tmp_path: Path) -> None:
    source = tmp_path / "relay.py"
    source.write_text(Path(relay.__file__).read_text())
    tmp_path.chmod(0o755)
    script = f"""
ip link set lo up
nft 'add table inet x; add chain inet x o {{ type filter hook output priority -300; }}
add rule inet x o oifname lo ip daddr 127.0.0.1 tcp dport 8080 meta skuid != 0 reject with tcp reset' || exit 77
{sys.executable} -m http.server --bind 127.0.0.1 8080 >/dev/null 2>&1 &
for _ in $(seq 100); do ss -Hltn | grep -q :8080 && break; sleep 0.05; done
setpriv --reuid 65534 --clear-groups /usr/bin/python3 -IB - mark 127.0.0.1 8080 < {source}
kill %1
"""
    done = subprocess.run(["unshare", "-n", "bash", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no such rules, or no network namespace here")
    found = re.search(r"^mark (.*)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stderr
    assert json.loads(found[1]) == {"guarded": "[Errno 111] Connection refused"}
    assert listener.read(found[1].encode()) == listener.Refused("[Errno 111] Connection refused", guarded=True)
