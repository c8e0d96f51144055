"""Many addresses on few lab gateways: a fleet for commands that look, a part of it dead, slow or hostile.

Each address is one more of a gateway's network interface, so that connections, handshakes and what runs behind them are
real. The bad ones are all on the last gateway: a port where nobody listens, one from which nothing comes back, servers
that speak no SSH (tests/hostile/doorstep.py), a key that is not the known one, and logins that say too much or nothing.
sshd's own limits are raised, for it would turn away a thousand connections from one address as an attack.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.lab import docker
from phi4_edge.lab.model import Lab, LabHost

DOORSTEP = Path(__file__).parents[1] / "hostile" / "doorstep.py"
GOOD = "good"
# Kind → port, and what is said of the host.
KINDS: Mapping[str, tuple[int, str]] = {
    "closed": (2200, r"refused"),
    "dropped": (22, r"timed out|no answer"),
    "wrong key": (22, r"host key of .* has changed"),
    "flood": (2201, r"more than \d+ bytes"),
    "mute": (2202, r"no (complete )?answer"),
    "silent": (2203, r"banner|greeting"),
    "drip": (2204, r"banner|greeting"),
    "garbage": (2205, r"banner|greeting"),
    "endless": (2206, r"banner|greeting|protocol version"),
    "hangup": (2207, r"banner|greeting"),
}
AT_DOORSTEP = ("silent", "drip", "garbage", "endless", "hangup")
CONFIG = "/etc/ssh/sshd_config.d/00-crowd.conf"
SSHD = f"""\
Port 22
Port {KINDS["flood"][0]}
Port {KINDS["mute"][0]}
MaxStartups 1000
PerSourcePenalties no
LoginGraceTime 300
Match LocalPort {KINDS["flood"][0]}
  ForceCommand exec yes 'welcome to this gateway'
Match LocalPort {KINDS["mute"][0]}
  ForceCommand exec sleep 3600
"""
THERE = "/run/doorstep"
# Runs a script as root on a gateway, past SSH: its name and the script. Returns what it printed.
Sh = Callable[[str, str], str]


@dataclass(frozen=True)
class Address:
    """One host of the inventory, and the gateway that it really is."""

    name: str
    gateway: LabHost
    address: str
    kind: str = GOOD

    @property
    def port(self) -> int:
        return 22 if self.kind == GOOD else KINDS[self.kind][0]

    @property
    def known_as(self) -> str:
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


def plan(lab: Lab, count: int, bad: int = 0, kinds: Sequence[str] = tuple(KINDS)) -> list[Address]:
    """Addresses from the end of the lab's network; the bad ones lie evenly among the good ones, their kinds in turn."""
    with docker.connect() as client:
        subnet = ipaddress.ip_network(client.networks.get(lab.network).attrs["IPAM"]["Config"][0]["Subnet"])
    found = list[Address]()
    for number in range(count):
        address = str(subnet[subnet.num_addresses - 2 - number])
        is_bad = (number + 1) * bad // count > number * bad // count
        gateway = lab.hosts[-1] if is_bad else lab.hosts[number % len(lab.hosts)]
        kind = kinds[(number * bad // count) % len(kinds)] if is_bad else GOOD
        found.append(Address(f"h{number:04d}", gateway, address, kind))
    return found


@contextmanager
def crowd(lab: Lab, addresses: Sequence[Address], sh: Sh) -> Iterator[None]:
    """The gateways have these addresses, and the bad ones behave as they are called."""
    program = base64.b64encode(DOORSTEP.read_bytes()).decode()
    words = " ".join(f"{KINDS[kind][0]}={kind}" for kind in AT_DOORSTEP)
    try:
        for gateway in lab.hosts:
            own = [one for one in addresses if one.gateway == gateway]
            _give(sh, gateway, own)
        sh(lab.hosts[-1].name, f"echo {program} | base64 -d > {THERE}.py\n"
           f"nohup python3 {THERE}.py {words} > {THERE}.out 2>&1 < /dev/null &\necho $! > {THERE}.pid\n"
           f"timeout 30 sh -c 'until grep -q ready {THERE}.out; do sleep 0.1; done'")  # fmt: skip
        yield
    finally:
        for gateway in lab.hosts:
            _take(sh, gateway, [one for one in addresses if one.gateway == gateway])


def _give(sh: Sh, gateway: LabHost, addresses: Sequence[Address]) -> None:
    lines = [f"address replace {one.address}/32 dev eth0" for one in addresses]
    # Nothing that is sent from there leaves the gateway.
    lines += [f"rule add from {one.address} blackhole" for one in addresses if one.kind == "dropped"]
    text = base64.b64encode(("\n".join(lines) + "\n").encode()).decode()
    config = base64.b64encode(SSHD.encode()).decode()
    script = f"""\
echo {text} | base64 -d | ip -batch -
echo {config} | base64 -d > {CONFIG}
systemctl reload ssh
timeout 30 sh -c 'until ss -ltn | grep -q ":{KINDS["mute"][0]} "; do sleep 0.1; done'
"""
    sh(gateway.name, script)


def _take(sh: Sh, gateway: LabHost, addresses: Sequence[Address]) -> None:
    lines = [f"address del {one.address}/32 dev eth0" for one in addresses]
    lines += [f"rule del from {one.address} blackhole" for one in addresses if one.kind == "dropped"]
    text = base64.b64encode(("\n".join(lines) + "\n").encode()).decode()
    script = f"""\
echo {text} | base64 -d | ip -force -batch - || true
rm -f {CONFIG}; systemctl reload ssh
test ! -e {THERE}.pid || kill $(cat {THERE}.pid) || true
rm -f {THERE}.*
"""
    sh(gateway.name, script)


def inventory(lab: Lab, addresses: Sequence[Address], path: Path, more: str = "") -> Path:
    """An inventory of these, and the keys of the gateways under each address; `more`: settings of all of them."""
    keys = {line.split()[0]: line.split(maxsplit=1)[1] for line in lab.known_hosts.read_text().splitlines()}
    wrong = " ".join(lab.key.with_suffix(".pub").read_text().split()[:2])
    known = path.with_suffix(".known_hosts")
    known.write_text(
        "".join(
            f"{one.known_as} {wrong if one.kind == 'wrong key' else keys[one.gateway.address].strip()}\n"
            for one in addresses
        )
    )
    args = f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes"
    settings = (
        f"phi4_model=tiny ansible_user=gateway ansible_become=true ansible_python_interpreter=/usr/bin/python3\n"
        f"ansible_ssh_private_key_file={lab.key}\nansible_ssh_common_args={args} -o IdentitiesOnly=yes\n"
    ).replace(" ansible_", "\nansible_")
    lines = [f"{one.name} ansible_host={one.address} ansible_port={one.port}" for one in addresses]
    path.write_text("[gateways]\n" + "\n".join(lines) + "\n\n[gateways:vars]\n" + settings + more)
    return path


def wrong_rows(addresses: Sequence[Address], looked_at: set[str], problems: Mapping[str, str]) -> list[str]:
    """What is not right about a command's rows: who was looked at, and what was said of those who were not."""
    found = []
    for one in addresses:
        if one.kind == GOOD and (one.name not in looked_at or one.name in problems):
            found.append(f"{one.name} is well, and {problems.get(one.name, 'has no row')}")
        if one.kind != GOOD and (one.name in looked_at or one.name not in problems):
            found.append(f"{one.name} is {one.kind}, and has no problem")
        elif one.kind != GOOD and not re.search(KINDS[one.kind][1], problems[one.name], re.IGNORECASE):
            found.append(f"{one.name} is {one.kind}, and it is said: {problems[one.name]}")
    strangers = (looked_at | problems.keys()) - {one.name for one in addresses}
    return found + [f"{name} is not in the inventory" for name in sorted(strangers)]
