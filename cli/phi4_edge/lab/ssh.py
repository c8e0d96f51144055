"""Texts that `lab up` writes and the ssh command line that they amount to. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from phi4_edge.lab.model import USER, Lab, LabHost


def ssh_options(known_hosts: Path) -> list[str]:
    """Options that make OpenSSH trust exactly the lab's hosts and offer exactly the lab's key."""
    # OpenSSH splits this option's value at blanks, unless they are in quotes of its own.
    path = f'"{known_hosts}"' if any(map(str.isspace, str(known_hosts))) else str(known_hosts)
    return [
        "-o", f"UserKnownHostsFile={path}",
        "-o", "GlobalKnownHostsFile=none",
        "-o", "StrictHostKeyChecking=yes",
        "-o", "IdentitiesOnly=yes",
    ]  # fmt: skip


def ssh_command(
    lab: Lab, host: LabHost, arguments: Sequence[str] = (), options: Sequence[str] = (), user: str = USER
) -> list[str]:
    """The ssh invocation for one host; `arguments` reach the remote program as they are, whatever they contain.

    `user` is `gateway` (may use sudo) or `nosudo` (may not).
    """
    base = ["ssh", "-F", "none", "-i", str(lab.key), *ssh_options(lab.known_hosts), *options]
    remote = [shlex.join(arguments)] if arguments else []
    return [*base, f"{user}@{host.address}", *remote]


def inventory(lab: Lab) -> str:
    """An INI inventory with the lab's hosts in the group `gateways`, ready for this program and for plain Ansible."""
    width = max(len(host.name) for host in lab.hosts)
    lines = [f"# Lab {lab.name}: made by `phi4-edge lab up`, removed by `phi4-edge lab down --name {lab.name}`.", ""]
    lines.append("[gateways]")
    # A disk of the lab is in memory, which a plan refuses unless told to go on all the same.
    force = {host.name: " phi4_force=true" if host.disks else "" for host in lab.hosts}
    lines += [
        f"{host.name:<{width}} ansible_host={host.address}{force[host.name]}  # {host.profile}" for host in lab.hosts
    ]
    variables = {
        "ansible_user": USER,
        "ansible_become": "true",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": shlex.join(ssh_options(lab.known_hosts)),
        # The small model that comes with the package: it has the real architecture, and was taught a few answers.
        "phi4_model": "tiny",
        # A model of this size has shown within a second whether it stays up.
        "phi4_stability_seconds": "1",
    }
    lines += ["", "[gateways:vars]", *(f"{name}={value}" for name, value in variables.items())]
    return "\n".join(lines) + "\n"


def known_hosts(keys: Mapping[str, str]) -> str:
    """A known_hosts file from address → public key line (`ssh-ed25519 AAAA… comment`)."""
    lines = [" ".join([address, *key.split()[:2]]) for address, key in keys.items()]
    return "\n".join(lines) + "\n"
