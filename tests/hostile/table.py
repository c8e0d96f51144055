"""Plays the table: hosts are behaviours, tasks are operations, and an innocent host stands beside each of them.

Every host is this machine over Ansible's local connection, with the hostile host's Python as its interpreter: nothing
that an operation is for is ever done here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from phi4_edge import content
from phi4_edge.core.gateway import keys_file
from phi4_edge.credentials.keys import NAME
from tests.hostile import wire
from tests.hostile.doors import AT, Door, doors, good
from tests.hostile.memory import measured

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INNOCENT = "innocent"
Json = dict[str, Any]


def slug(behaviour: str) -> str:
    """Name of the host that behaves so."""
    return "evil-" + behaviour.replace(" ", "-").replace("_", "-").lower()


@dataclass(frozen=True)
class Play:
    """One process of ansible-playbook: its doors, its behaviours, seconds that a task may take."""

    folder: Path
    doors: Sequence[Door]
    behaviours: Sequence[str]
    timeout: int = 60
    check: bool = False
    forks: int = 12


@dataclass(frozen=True)
class Outcome:
    """What a play left: results by (behaviour, task), what the hosts say they did, and what the controller bears."""

    play: Play
    rows: dict[tuple[str, str], Json]
    end: Json
    reached: set[tuple[str, str]]
    same: set[tuple[str, str]]
    taken: dict[tuple[str, str], int]
    canaries: list[str]
    status: int
    output: str
    seconds: float
    memory: int
    tasks: dict[str, Door] = field(default_factory=dict)


def index(doors: Sequence[Door]) -> Json:
    """Words that only one host script of ours has in its first lines, and role/script of it, for those of the doors."""
    found: Json = {}
    for role, script, _do in {door.operation for door in doors}:
        head = (content.roles() / role / "files" / f"{script}.py").read_text().splitlines()[:8]
        # Scripts travel as literals of Python: what is the same inside one is looked for.
        found[max(re.split(r"[\"'\\\n]", "\n".join(head)), key=len)] = f"{role}/{script}"
    return found


def task_name(door: Door) -> str:
    return f"{door.plugin} {door.name}"


def task_of(door: Door) -> Json:
    """The task of a door, its plugin by the full name."""
    task: Json = json.loads(json.dumps(dict(door.task)))
    return {f"phi4_edge.edge.{name}" if name == door.plugin else name: value for name, value in task.items()}


def prepare(play: Play) -> None:
    """Everything that the play and its hosts need, in the play's folder."""
    home = play.folder / "home"
    home.mkdir(parents=True)
    (play.folder / "canary").mkdir()
    everything = doors(play.folder / "known")
    (home / "index.json").write_text(json.dumps(index(everything)))
    (home / "good.json").write_text(good(everything))
    if wire.BOMB_ROW in play.behaviours:
        (home / wire.BOMB).write_bytes(wire.bomb())
    actor = f"{sys.executable} -IS {HERE / 'actor.py'} {home} {play.folder / 'canary'}"
    hosts = {slug(name): {"hostile_behaviour": name} for name in play.behaviours}
    hosts[INNOCENT] = {"hostile_behaviour": "honest"}
    everywhere: dict[str, Any] = {"ansible_connection": "local", "hostile_python": actor}
    # What a gateway would be brought: keys, and no certificate, for which there would have to be a CA.
    (play.folder / NAME).write_text(keys_file.encode([]))
    everywhere |= {"phi4_gateway": True, "phi4_gateway_tls": False}
    (play.folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": everywhere}}))
    python = "{{ hostile_python }} '{{ hostile_behaviour }}' %s"
    tasks = [
        {
            "name": task_name(door), **task_of(door), "timeout": play.timeout,
            "check_mode": play.check, "ignore_errors": True, "ignore_unreachable": True,
            "vars": {"ansible_python_interpreter": python % door.name},
        }
        for door in play.doors
    ]  # fmt: skip
    # Whoever got a host into the inventory, or variables to the innocent one, has them used here.
    after = {
        "name": "after",
        "phi4_edge.edge.phi4_lock": {"do": "show", **AT},
        "ignore_errors": True,
        "timeout": 20,
    }
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": tasks},
        {"hosts": "all:!evil*", "gather_facts": False, "tasks": [after]},
    ]
    (play.folder / "playbook.yml").write_text(yaml.safe_dump(plays, sort_keys=False, width=10**6))


def environment(play: Play) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
        "ANSIBLE_FORKS": str(play.forks), "HOSTILE_ROWS": str(play.folder / "rows"),
        "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }  # fmt: skip


def run(play: Play, seconds: float = 900) -> Outcome:
    """The play has run to its end, or was ended after `seconds`."""
    prepare(play)
    argv = [
        sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), "-i",
        str(play.folder / "inventory.yml"), str(play.folder / "playbook.yml"),
    ]  # fmt: skip
    began = time.monotonic()
    with (play.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, env=environment(play), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with measured(process.pid) as memory:
            try:
                status = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
    return outcome(play, status, time.monotonic() - began, memory[0])


def outcome(play: Play, status: int, seconds: float, memory: int) -> Outcome:
    home, rows = play.folder / "home", play.folder / "rows"
    lines: list[Json] = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    names = {slug(name): name for name in play.behaviours} | {INNOCENT: "honest"}
    return Outcome(
        play,
        {(names.get(line["host"], line["host"]), line["task"]): line for line in lines if "host" in line},
        next((line for line in lines if "end" in line), {}),
        {(line[0], line[2]) for line in logged(home / "calls") if line[3]},
        {(line[0], line[1]) for line in logged(home / "same")},
        {(line[0], line[1]): line[2] for line in logged(home / "taken")},
        sorted(path.name for path in (play.folder / "canary").iterdir()),
        status,
        (play.folder / "output").read_text(errors="replace"),
        seconds,
        memory,
        {task_name(door): door for door in play.doors},
    )


def logged(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
