"""The programs that we are compared with: from the package index at an exact version, used as their authors advise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from phi4_edge.lab import Lab

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "bench"
# Exact versions: the core that this project pins, and the newest pyinfra when the benchmarks were written.
ANSIBLE = "ansible-core==2.19.14"
PYINFRA = "pyinfra==3.10.0"


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def peer(requirement: str) -> Path:
    """The bin directory of an environment that holds just `requirement` (NAME==VERSION), made once from PyPI."""
    place = BENCH / requirement.replace("==", "-")
    ready = place / ".ready"
    if not ready.exists():
        say(f"installing {requirement} into {place.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", requirement], check=True)
        ready.touch()
    return place / "bin"


def playbook_command() -> str:
    """The peer's ansible-playbook."""
    return str(peer(ANSIBLE) / "ansible-playbook")


def pyinfra_command(inventory: Path, deploy: Path) -> list[str]:
    """pyinfra runs a deploy on all hosts of an inventory."""
    return [str(peer(PYINFRA) / "pyinfra"), "-y", str(inventory), str(deploy)]


def ansible_settings(forks: int) -> dict[str, str]:
    """Ansible tuned by a careful operator: pipelining, shared connections, no compression, no facts, enough forks.

    The lab's inventory names the interpreter, so it is not searched for.
    """
    return {
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o Compression=no",
    }


def pyinfra_inventory(lab: Lab, folder: Path, via: Mapping[str, tuple[str, int]] | None = None) -> Path:
    """The lab's hosts as an inventory of pyinfra; `via` has another address and port for some hosts."""
    hosts = []
    for host in lab.hosts:
        address, port = (via or {}).get(host.name, (host.address, 22))
        data = {
            "ssh_user": "gateway", "ssh_key": str(lab.key), "ssh_known_hosts_file": str(lab.known_hosts),
            "ssh_strict_host_key_checking": "yes", "_sudo": True, "lab_name": host.name,
            "ssh_hostname": address, "ssh_port": port, "ssh_connect_retries": 3,
        }  # fmt: skip
        hosts.append((host.name, data))
    path = folder / "hosts.py"
    path.write_text(f"hosts = {hosts!r}\n")
    return path
