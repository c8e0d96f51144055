"""Lab gateways, all but one of which were taken over: the hostile host's python3 answers as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.fleet import Fleet
from tests.e2e.gateway import ROOT, Cli
from tests.hostile import answers
from tests.hostile.doors import doors
from tests.hostile.memory import measured
from tests.hostile.table import index

INNOCENT, EVIL = "gw2", ("gw1", "gw3", "gw4")
MOST_MEMORY = 400 << 20
PYTHON = "/usr/local/bin/hostile-python"
HOME, CODE = "/var/lib/hostile", "/usr/local/lib/hostile"
# How it behaves is read at each call, so that one lab does for all tests.
WRAPPER = f"""#!/bin/sh
{{ read -r behaviour; read -r target; read -r canary; }} < /etc/hostile
exec /usr/bin/python3 -IS {CODE}/tests/hostile/actor.py {HOME} "$canary" "$behaviour" "$target" "$@"
"""
# Stands in for ssh to a machine beside this one that is a worker: the same phi4-edge, in a process of its own.
NEARBY = """#!/bin/sh
for word; do [ "$word" = nearby ] && here=1; last=$word; done
[ -n "$here" ] || exec /usr/bin/ssh "$@"
exec sh -c "$last"
"""


@dataclass(frozen=True)
class Ran:
    """A finished command, with the most memory of it and its children (bytes), its seconds, and those of them after it
    was interrupted."""

    code: int
    out: str
    memory: int
    seconds: float
    stopped: float = 0.0

    @property
    def result(self) -> dict[str, Any]:
        """The result document that ends a stream of JSON Lines."""
        lines = [line for line in self.out.splitlines() if line.startswith("{")]
        return dict(json.loads(lines[-1]))

    def host(self, name: str) -> dict[str, Any]:
        return next(host for host in self.result["hosts"] if host["host"] == name)


@dataclass
class Site:
    """The fleet, and a folder on the controller in which nothing may appear."""

    fleet: Fleet
    folder: Path

    def prepare(self) -> None:
        """The hostile host's Python is on the evil gateways, and the inventory says that it is the host's Python."""
        (self.folder / "canary").mkdir()
        here, rows = ROOT / "tests" / "hostile", json.dumps(index(doors(self.folder / "known")))
        for name in EVIL:
            host = self.fleet.host(name)
            host.sh(
                f"mkdir -p {CODE}/tests/hostile {HOME}; touch {HOME}/calls {HOME}/same {HOME}/taken; "
                f"chmod -R a+rwX {HOME}"
            )
            for file in ("actor", "answers", "wire"):
                host.sh(f"cat > {CODE}/tests/hostile/{file}.py", stdin=(here / f"{file}.py").read_text())
            host.sh(f"cat > {HOME}/index.json", stdin=rows)
            host.sh(f"cat > {PYTHON}; chmod 755 {PYTHON}", stdin=WRAPPER)
        self.all_honest()
        self.fleet.variables = {name: {"ansible_python_interpreter": PYTHON} for name in EVIL}
        self.fleet.write()
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(NEARBY)
        program.chmod(0o755)

    def row(self, behaviour: str, target: str) -> answers.Row:
        return answers.Row(behaviour, target, str(self.folder / "canary"))

    def all_honest(self) -> None:
        for name in EVIL:
            self.behave(name, "honest", "*")

    def behave(
        self, name: str, behaviour: str, target: str, payload: dict[str, Any] | None = None, instead: bool = False
    ) -> None:
        """From now on this evil gateway answers `target` so; `payload`: with these keys in an honest answer, or with
        nothing else and without doing anything."""
        host = self.fleet.host(name)
        if payload is not None:
            behaviour = f"{'instead' if instead else 'payload'}:{HOME}/payload"
            host.sh(f"cat > {HOME}/payload", stdin=json.dumps(payload))
        host.sh(f"cat > /etc/hostile; : > {HOME}/calls", stdin=f"{behaviour}\n{target}\n{self.folder}/canary\n")

    def asked(self, name: str) -> bool:
        """Whether this evil gateway has answered falsely since."""
        return any(json.loads(line)[3] for line in self.fleet.host(name).sh(f"cat {HOME}/calls").splitlines())

    def run(self, argv: list[str], cli: Cli, timeout: float = 240, stop: bool = False) -> Ran:
        """The finished command. `stop`: SIGTERM a moment after the first evil gateway was asked."""
        began, out = time.monotonic(), self.folder / "output"
        with out.open("wb") as stream:
            process = subprocess.Popen(
                argv, cwd=cli.home, env=cli.env, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            with measured(process.pid) as memory:
                try:
                    while stop and process.poll() is None and not self.asked(EVIL[0]):
                        time.sleep(1)
                    ended = time.monotonic()
                    if stop:
                        time.sleep(1)
                        process.send_signal(signal.SIGTERM)
                    process.wait(timeout=timeout)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
        now = time.monotonic()
        return Ran(process.returncode, out.read_text(errors="replace"), memory[0], now - began, now - ended)

    def command(self, *words: str, evil: Sequence[str] = EVIL[:1], timeout: float = 240, stop: bool = False) -> Ran:
        """A phi4-edge command over the innocent gateway and these evil ones."""
        cli = self.fleet.cli
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        near = Cli(cli.store, cli.home, {"PATH": path})
        verb, *more = words
        limit = ",".join([INNOCENT, *evil])
        argv = near.argv(verb, *map(str, self.fleet.inventories), *more, "--limit", limit)
        return self.run(argv, near, timeout, stop)

    def playbook(self, name: str) -> Ran:
        """The plain playbook over the innocent gateway and the first evil one, without phi4-edge."""
        inventories = [word for path in self.fleet.inventories for word in ("-i", str(path))]
        program = Path(sys.executable).parent / "ansible-playbook"
        environment = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        argv = [sys.executable, str(program), *inventories, str(ROOT / "playbooks" / f"{name}.yml")]
        argv += ["--limit", f"{INNOCENT},{EVIL[0]}"]
        return self.run(argv, Cli(self.fleet.cli.store, self.fleet.cli.home, environment))

    def unharmed(self, ran: Ran) -> None:
        """The controller is as it was: no file, no memory, nothing that a terminal obeys, no words of Python."""
        assert [path.name for path in (self.folder / "canary").iterdir()] == []
        assert ran.memory <= MOST_MEMORY, f"{ran.memory >> 20} MiB"
        assert "Traceback" not in ran.out, ran.out[-3000:]
        assert not any(bad in ran.out for bad in ("\x1b[2J", "\u202e", answers.EVALUATED)), ran.out[-3000:]
