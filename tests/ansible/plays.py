"""Runs real playbooks on this machine for the tests of the roles: no lab, no network, one folder per test."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from phi4_edge.runner.forkserver import ForkServer

ROOT = Path(__file__).parents[2]
ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


@dataclass(frozen=True)
class Played:
    """How a playbook ended, with everything that it printed."""

    status: int
    output: str

    def recap(self, host: str) -> dict[str, int]:
        """Counts of the play recap for a host: ok, changed, failed, …"""
        line = next(line for line in self.output.splitlines() if line.startswith(f"{host} ") and "ok=" in line)
        pairs = (word.split("=") for word in line.split(":", 1)[1].split())
        return {name: int(number) for name, number in pairs}


def environment(**more: str) -> dict[str, str]:
    """The checkout's configuration, without colour and without this user's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INJECT_FACT_VARS": "false", "ANSIBLE_LOCALHOST_WARNING": "false", **more,
    }  # fmt: skip


def command(playbook: Path, inventory: Path, *options: str) -> list[str]:
    """The command line for one playbook."""
    return [sys.executable, str(ANSIBLE_PLAYBOOK), "-i", str(inventory), str(playbook), *options]


@cache
def server() -> ForkServer:
    """A process that has imported Ansible; each play of these tests is a fork of it, like the runs of the command."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    made = ForkServer(folder)
    atexit.register(made.close)
    return made


def play(playbook: Path, inventory: Path, *options: str, **more: str) -> Played:
    """The playbook has run to its end."""
    argv = command(playbook, inventory, *options)
    if not any(name.startswith("ANSIBLE_") for name in more):  # which Ansible reads as it is imported
        argv = [*server().command(environment(), Path.cwd()), ANSIBLE_PLAYBOOK.name, *argv[2:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment(**more))
    return Played(done.returncode, done.stdout + done.stderr)


def write_inventory(folder: Path, hosts: dict[str, dict[str, Any]]) -> Path:
    """An inventory of hosts that are all this machine."""
    own = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {name: {**own, **extra} for name, extra in hosts.items()}}}))
    return path


def write_playbook(folder: Path, *tasks: dict[str, Any]) -> Path:
    """A playbook of these tasks for all hosts."""
    path = folder / "playbook.yml"
    path.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}], sort_keys=False))
    return path


def role(name: str, **variables: Any) -> dict[str, Any]:
    """A task that includes a role of ours."""
    return {"ansible.builtin.include_role": {"name": f"phi4_edge.edge.{name}"}, "vars": variables}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
