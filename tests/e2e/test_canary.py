"""A whole run with secrets everywhere an operator has them: where each may be is a table, and nowhere else is any.

Passwords of sudo and of the vault, a key's passphrase, and tokens of other products in the environment. The processes
of both sides are looked at every 20 ms meanwhile, files and logs of both sides afterwards.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab.ssh import ssh_options
from tests.e2e.canary import VARIABLES, Sighting, agent, in_files, on_host, planted, polled, vault
from tests.e2e.gateway import Cli, Gateway

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look into all processes"),
]

# The command itself has the environment that the operator gave it. A child between fork and exec is still the command.
COMMAND = re.compile(re.escape(f"{sys.executable} -m phi4_edge "))
# (where, secret) → what may have it there. Everything else is a leak.
ALLOWED = {
    **{("environ", name): COMMAND for name in VARIABLES},
    # The password that was typed: in a file of a private directory (mode 0700) in memory, as long as Ansible runs.
    ("private", "become password"): re.compile("run/become_password in 700$"),
}
USER = "nosudo"
# What no other user of a gateway can do there, as a shell says it; staging, locks and hook are there while a run works.
FORBIDDEN = (
    *("ls /var/lib/phi4-edge/staging", "touch /var/lib/phi4-edge/lock", "touch /var/lib/phi4-edge/receipt.json"),
    *("touch /var/lib/phi4-edge/journal.json", "rm -f /var/lib/phi4-edge/receipt.json", "touch /var/lib/phi4-edge/x"),
    *("touch /run/phi4-edge-hook", "touch /run/phi4-edge-lock.json", "touch /run/phi4-edge-lock.guard"),
    *("flock -n /run/phi4-edge.lock true", "cat /run/phi4-edge-gate.json", "ln -s /tmp /run/phi4-edge-rehearsal"),
    *("touch /opt/phi4-edge/x", "ln -sfn /tmp /opt/phi4-edge/current", "touch /opt/phi4-edge/current/environment"),
    *("touch /etc/systemd/system/phi4-edge.service", "touch /run/systemd/system/phi4-edge-rehearsal.service"),
    *("systemctl stop phi4-edge", "kill $(systemctl show phi4-edge -p MainPID --value)"),
)


@dataclass(frozen=True)
class Site:
    """One gateway whose user needs a password for sudo, and the controller that has it."""

    cli: Cli
    gateway: Gateway
    values: dict[str, str]
    with_vault: Path
    asking: Path
    vault_password: Path
    own: tuple[Path, ...]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    name = f"canary-{os.getpid()}"
    lab = lab_room.up(name, [lab_room.load_profiles().get("gateway-6gb")])
    try:
        yield Gateway(lab, "gw1")
    finally:
        lab_room.down(name)


@pytest.fixture
def gateways(gateway: Gateway) -> list[Gateway]:
    return [gateway]


@pytest.fixture
def site(ready: Cli, gateway: Gateway, tmp_path: Path) -> Iterator[Site]:
    values, lab = planted(), gateway.lab
    typed = f"{USER}:{values['become password']}\n"
    gateway.sh(f"chpasswd; echo '{USER} ALL=(ALL) ALL' > /etc/sudoers.d/canary", stdin=typed)
    asking, with_vault, password = tmp_path / "asking.ini", tmp_path / "vaulted/hosts.ini", tmp_path / "vault-password"
    password.write_text(values["vault password"])
    password.chmod(0o600)
    # The key is in the agent alone.
    options = shlex.join(
        word.replace("IdentitiesOnly=yes", "IdentitiesOnly=no") for word in ssh_options(lab.known_hosts)
    )
    address = lab.host(gateway.name).address
    line = f"{gateway.name} ansible_host={address} ansible_user={USER} ansible_become=true phi4_model=tiny "
    line += f"ansible_ssh_common_args={shlex.quote(options)}\n"
    asking.write_text(line)
    group = with_vault.parent / "group_vars" / "all"
    group.mkdir(parents=True)
    with_vault.write_text(line)
    vault(group / "vault.yml", password, f"ansible_become_password: {values['become password']}\n")
    home = tmp_path / "home"
    home.mkdir()
    with agent(lab.key, values["passphrase"], tmp_path / "agent") as socket:
        extra = {"HOME": str(home), "SSH_AUTH_SOCK": socket, **{name: values[name] for name in VARIABLES}}
        cli = replace(ready, home=tmp_path, extra=extra)
        yield Site(cli, gateway, values, with_vault, asking, password, (password, tmp_path / "agent" / "passphrase"))


def leaks(seen: list[Sighting]) -> list[Sighting]:
    """Sightings where the secret does not belong."""
    return [one for one in seen if not (may := ALLOWED.get((one.where, one.secret))) or not may.match(one.what)]


def may(gateway: Gateway, words: str) -> bool:
    """Whether another user of the host than root and the engine's can do it."""
    made = "mkdir -p -m 700 /var/lib/phi4-edge/staging; "  # it is there while something arrives
    return "done" in gateway.sh(f"{made}setpriv --reuid 65534 --clear-groups sh -c '{words} && echo done'", code=None)


def test_secrets_are_where_they_belong_and_nowhere_else(site: Site) -> None:
    cli, began = site.cli, time.time()
    vaulted = (site.with_vault, "--vault-password-file", site.vault_password)
    with polled(site.values) as seen:
        typed = site.values["become password"] + "\n"
        cli.run("provision", site.asking, "--yes", "--ask-become-pass", stdin=typed).expect(0)
        cli.run("status", *vaulted).expect(0)
        cli.run("ask", *vaulted, "Hello", "--max-tokens", "5").expect(0)
        cli.run("verify", *vaulted, "--max-tokens", "8").expect(0)
        cli.run("doctor", *vaulted).expect(0)
        assert [words for words in FORBIDDEN if may(site.gateway, words)] == []
        assert may(site.gateway, "cat /var/lib/phi4-edge/receipt.json")
        cli.run("remove", *vaulted, "--yes").expect(0)
    assert leaks(seen) == []
    # The poller sees: the command has its environment, and the password was in the run's private file.
    assert {(one.where, one.secret) for one in seen} >= {("environ", "GH_PAT"), ("private", "become password")}
    folders = [cli.home, cli.store, Path("/dev/shm"), Path("/var/tmp"), Path("/run/user"), Path.home() / ".ansible"]
    assert in_files(site.values, folders, began - 1, site.own) == []
    assert on_host(site.gateway, site.values) == ""
    site.gateway.sh("cat > /var/tmp/kept", stdin=site.values["passphrase"])
    assert on_host(site.gateway, site.values) == "/var/tmp/kept\n"
    site.gateway.sh("rm /var/tmp/kept")


def test_a_secret_that_leaks_is_seen(tmp_path: Path) -> None:
    values, began = planted(), time.time()
    with polled(values) as seen:
        leaky = subprocess.Popen(["sleep", "30"], env={"GH_PAT": values["GH_PAT"]})
        telling = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", values["DB_PASS"]])
        time.sleep(3)
        for process in (leaky, telling):
            process.kill()
            process.wait()
    assert {(one.where, one.secret) for one in leaks(seen)} == {("environ", "GH_PAT"), ("cmdline", "DB_PASS")}
    (tmp_path / "log").write_text(f"token {values['HF_TOKEN']}\n")
    assert in_files(values, [tmp_path], began - 1, ()) == [f"HF_TOKEN in {tmp_path / 'log'}"]
    assert in_files(values, [tmp_path], began - 1, [tmp_path / "log"]) == []
