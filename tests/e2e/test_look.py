"""One look over one ssh command: every way in, told right, with the facts that Ansible gets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import Cli, Gateway
from tests.e2e.raw_facts import BY_ANSIBLE, raw_facts

pytestmark = pytest.mark.e2e

PASSWORD, PHRASE = "right one", "of the key"
PORT = 2222
PREPARE = f"""
for user in asks refuses terminal; do
  id $user >/dev/null 2>&1 || useradd -m -s /bin/bash $user
  cp /etc/ssh/authorized_keys/gateway /etc/ssh/authorized_keys/$user
done
printf 'asks:{PASSWORD}\\nrefuses:{PASSWORD}\\n' | chpasswd
printf 'asks ALL=(ALL) ALL\\nterminal ALL=(ALL) NOPASSWD: ALL\\nDefaults:terminal requiretty\\n' >/etc/sudoers.d/look
chmod 440 /etc/sudoers.d/look
mkdir -p /run/sshd
printf '%s\\n' 'Port {PORT}' 'PidFile /run/look-sshd.pid' 'PasswordAuthentication yes' 'UsePAM yes' \\
  'HostKey /etc/ssh/ssh_host_ed25519_key' 'AuthorizedKeysFile /etc/ssh/authorized_keys/%u' >/run/look-sshd
/usr/sbin/sshd -f /run/look-sshd
# Logins that are refused on purpose would keep this machine out of the others, and two dozen come at a time.
printf '%s\\n' 'PerSourcePenalties no' 'MaxStartups 100' >/etc/ssh/sshd_config.d/look.conf; systemctl restart ssh
"""
REMOVE = """
kill $(cat /run/look-sshd.pid); rm -f /run/look-sshd /run/look-sshd.pid /etc/sudoers.d/look
rm /etc/ssh/sshd_config.d/look.conf; systemctl reload ssh
for user in asks refuses terminal; do
  loginctl terminate-user $user; userdel -rf $user; rm -f /etc/ssh/authorized_keys/$user
done; true
"""


@dataclass(frozen=True)
class Way:
    """How a host is reached, and what is said of it: the outcome and words of the reason, or "" where it has facts.

    `ansible`: only Ansible gets there.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    outcome: str = ""
    words: str = ""
    ansible: bool = False


def address_of(gateway: Gateway) -> str:
    """Where the gateway is on the lab's network."""
    return next(host.address for host in gateway.lab.hosts if host.name == gateway.name)


class Relay:
    """This machine's own IPv6 address in front of a gateway, whose network has none."""

    def __init__(self, address: str) -> None:
        relay = self

        class Through(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((address, 22)) as there:
                    back = threading.Thread(target=relay._copy, args=(there, self.request))
                    back.start()
                    relay._copy(self.request, there)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6
            daemon_threads = True

        self._server = Server(("::1", 0), Through)
        self.at: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := source.recv(65536):
                sink.sendall(said)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Site:
    """A gateway that is reached in many ways, and what this machine needs for them."""

    gateway: Gateway
    ways: Mapping[str, Way]
    environ: Mapping[str, str]
    folder: Path

    @property
    def address(self) -> str:
        """The gateway's."""
        return address_of(self.gateway)

    def inventory(self) -> Path:
        """Every way as a host of its own."""
        lines = [
            f"{name} " + " ".join(f"{key}={shlex.quote(value)}" for key, value in settings.items())
            for name, way in self.ways.items()
            for settings in ({"ansible_host": self.address, **way.settings},)
        ]
        common = self.gateway.lab.inventory.read_text().partition("[gateways:vars]")[2]
        path = self.folder / "hosts.ini"
        path.write_text("[gateways]\n" + "\n".join(lines) + f"\n\n[gateways:vars]{common}\n")
        return path


def ways(key: Path, args: str, address: str, folder: Path, locked: Path, six: int) -> dict[str, Way]:
    """The table."""
    jump = f"ssh -F none -i {key} {args} -W %h:%p gateway@{address}"
    return {
        "plain": Way(),
        "sudo-password": Way({"ansible_user": "asks", "ansible_become_password": PASSWORD}),
        "sudo-wrong": Way(
            {"ansible_user": "asks", "ansible_become_password": "wrong"}, "preflight", "with the given password"
        ),
        "sudo-none": Way({"ansible_user": "asks"}, "preflight", "a password is required"),
        "sudo-refused": Way(
            {"ansible_user": "refuses", "ansible_become_password": PASSWORD}, "preflight", "sudoers|not allowed"
        ),
        "tty": Way({"ansible_user": "terminal"}, "preflight", "must have a tty"),
        "port": Way({"ansible_port": str(PORT)}),
        "ipv6": Way({"ansible_host": "::1", "ansible_port": str(six)}),
        "login-password": Way({"ansible_port": str(PORT), "ansible_user": "asks", "ansible_password": PASSWORD,
                               "ansible_become_password": PASSWORD, "ansible_ssh_private_key_file": ""}),
        "jump": Way({"ansible_ssh_common_args": f"{args} -o ProxyCommand='{jump}'"}),
        "shared": Way({"ansible_ssh_common_args": f"{args} -o ControlPath={folder}/shared"}),
        "agent": Way({"ansible_ssh_private_key_file": f"{key}.pub"}),
        "phrase": Way({"ansible_ssh_private_key_file": str(locked)}),
        "phrase-alone": Way(
            {
                "ansible_ssh_private_key_file": f"{folder}/unknown",
                "ansible_ssh_common_args": f"{args} -o IdentitiesOnly=yes",
            },
            "unreachable",
            "is encrypted",
        ),
        "unprivileged": Way({"ansible_become": "false"}),
        "doas": Way({"ansible_become_method": "doas"}, "preflight|unreachable", "community.general|doas", ansible=True),
        "local": Way({"ansible_connection": "local", "ansible_become": "false"}, ansible=True),
        "no-python": Way({"ansible_python_interpreter": "/no/python3"}, "preflight", "/no/python3"),
        "dead": Way({"ansible_port": "1"}, "unreachable", "no way to"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(gateways: list[Gateway], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    gateway, folder = gateways[0], tmp_path_factory.mktemp("look")
    settings = dict(re.findall(r"^(\w+)=(.*)$", gateway.lab.inventory.read_text(), re.MULTILINE))
    key, args = Path(settings["ansible_ssh_private_key_file"]), settings["ansible_ssh_common_args"]
    known = Path(re.search(r" UserKnownHostsFile=(\S+)|UserKnownHostsFile=(\S+)", args)[1])  # type: ignore[index]
    own_known = folder / "known"
    args = args.replace(str(known), str(own_known)).replace(" -o IdentitiesOnly=yes", "")
    locked = folder / "locked"
    unknown = folder / "unknown"
    for path, text in ((locked, key.read_bytes()), (unknown, None)):
        if text is not None:
            path.write_bytes(text)
            path.chmod(0o600)
            _run("ssh-keygen", "-q", "-p", "-P", "", "-N", PHRASE, "-f", str(path))
        else:
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", PHRASE, "-f", str(path))
    said = _run("ssh-agent", "-s")
    environ = dict(re.findall(r"(SSH_AUTH_SOCK|SSH_AGENT_PID)=([^;]+);", said))
    _run("ssh-add", "-q", str(key), env={**os.environ, **environ})
    gateway.sh(PREPARE)
    relay = Relay(address_of(gateway))
    own_known.write_text(
        known.read_text() + _also_at(known, address_of(gateway), (address_of(gateway), PORT), relay.at)
    )
    made = Site(gateway, ways(key, args, address_of(gateway), folder, locked, relay.at[1]), environ, folder)
    for way in made.ways.values():
        if "ansible_ssh_common_args" not in way.settings:
            dict.__setitem__(way.settings, "ansible_ssh_common_args", args)  # type: ignore[index]
    shared = ["-o", f"ControlPath={folder}/shared", "-o", "ControlPersist=yes", *shlex.split(args)]
    _run("ssh", "-F", "none", "-i", str(key), *shared, "-MNf", f"gateway@{address_of(gateway)}")
    yield made
    _run("ssh", *shared, "-O", "exit", f"gateway@{address_of(gateway)}")
    os.kill(int(environ["SSH_AGENT_PID"]), 15)
    relay.close()
    gateway.sh(REMOVE)


def _also_at(known: Path, address: str, *places: tuple[str, int]) -> str:
    """The host's keys again, for other addresses and ports of it."""
    lines = known.read_text().splitlines(keepends=True)
    ours = [line.removeprefix(f"{address} ") for line in lines if line.startswith(f"{address} ")]
    return "".join(f"[{host}]:{port} {line}" for host, port in places for line in ours)


def test_every_way_in_is_told_right(ready: Cli, site: Site) -> None:
    document = _looked(ready, site)
    found = {entry["host"]: entry for entry in document["problems"]}
    wrong = []
    for name, way in site.ways.items():
        problem = found.get(name)
        if way.outcome == "" and problem is not None:
            wrong.append(f"{name}: {problem['outcome']}: {problem['reason']}")
        elif way.outcome and (
            problem is None
            or not re.fullmatch(way.outcome, problem["outcome"])
            or not re.search(way.words, f"{problem['reason']} {problem['next_step']}")
            or not problem["next_step"]
        ):
            wrong.append(f"{name}: needed {way.outcome} ({way.words}), found {problem}")
    assert not wrong, "\n".join(wrong)
    assert {entry["host"] for entry in document["hosts"]} == {
        name for name, way in site.ways.items() if not way.outcome
    }


def test_the_facts_are_those_that_ansible_gets(ready: Cli, site: Site) -> None:
    """Byte for byte but for what changes with every look, over every way that has facts."""
    names = [
        name for name, way in site.ways.items() if not way.outcome and not way.ansible and name != "login-password"
    ]
    ready = _as(ready, site.environ)
    own, theirs = (raw_facts(ready, site.inventory(), names, *more) for more in ((), BY_ANSIBLE))
    assert set(own) == set(theirs) == set(names)
    for name in names:
        assert own[name] == theirs[name], name


def test_ansible_is_not_started_where_nothing_needs_it(ready: Cli, site: Site, tmp_path: Path) -> None:
    """A play of any kind would leave a mark."""
    hosts = site.inventory()
    env = {**site.environ, "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path)}
    (tmp_path / "mark.py").write_text(
        "from ansible.plugins.callback import CallbackBase\n"
        "class CallbackModule(CallbackBase):\n"
        "    CALLBACK_NAME, CALLBACK_NEEDS_ENABLED = 'mark', False\n"
        f"    def v2_playbook_on_start(self, playbook):\n        open({str(tmp_path / 'mark')!r}, 'w').close()\n"
    )
    _as(ready, env).run("detect", hosts, "--limit", "plain,jump,shared,sudo-password").expect(0)
    assert not (tmp_path / "mark").exists()


def _looked(ready: Cli, site: Site) -> Any:
    done = _as(ready, site.environ).run("detect", site.inventory(), "-o", "json")
    assert done.code == 5, done.err
    return json.loads(done.out)


def _as(ready: Cli, environ: Mapping[str, str]) -> Cli:
    return replace(ready, extra={**ready.extra, **environ})


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    ask = {"SSH_ASKPASS_REQUIRE": "never"}
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {}), **ask},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
