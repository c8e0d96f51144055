"""Tools of the end-to-end tests: the command as a user runs it, and a look at the host that goes past our own code."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

from phi4_edge import lab as lab_room
from phi4_edge.data import schema

ROOT = Path(__file__).parents[2]
PORT = 8080
# Most tests are about a host, not about a fleet: they do not wait for a canary, and each host is for itself.
ALL_AT_ONCE = ("--canary", "0", "--wave", "100%", "--bake", "0", "--max-failures", "100%")
WAVES = ("--canary", "--wave", "--bake", "--max-failures", "--resume", "--plan", "--check")

_SCHEMAS = ((f"{name}.schema.json", schema(name)) for name in ("event", "result", "plan", "facts"))
EVENT = jsonschema.Draft202012Validator(
    schema("event"),
    registry=Registry().with_resources((name, Resource.from_contents(found)) for name, found in _SCHEMAS),
)


@dataclass(frozen=True)
class Done:
    """A finished command."""

    argv: list[str]
    code: int
    out: str
    err: str

    def expect(self, code: int) -> Done:
        """Itself, when it ended with `code`; a traceback is never a good message."""
        shown = f"{shlex.join(self.argv)}\nended with {self.code}, not {code}\n--- out\n{self.out}\n--- err\n{self.err}"
        assert self.code == code, shown
        assert "Traceback" not in self.err + self.out, shown
        return self

    @property
    def result(self) -> dict[str, Any]:
        """The result document that ends a JSON Lines stream, each line of which is as its schema says."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.out.splitlines()]
        for line in lines:
            EVENT.validate(line)
        assert [number for number, line in enumerate(lines, 1) if line["event"] == "result"] == [len(lines)]
        return lines[-1]

    def outcomes(self) -> dict[str, str]:
        """Outcome by host, of a command that changes hosts."""
        return {host["host"]: host["outcome"] for host in self.result["hosts"]}


@dataclass(frozen=True)
class Cli:
    """Runs `phi4-edge` in a process of its own, with a store and a working directory of the test session."""

    store: Path
    home: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        ours = {
            "PHI4_EDGE_STORE": str(self.store),
            "PHI4_EDGE_STATE": str(self.home / "state"),
            "PHI4_EDGE_CONFIG": str(self.home / "config"),
        }
        return {**os.environ, **ours, "NO_COLOR": "1", **self.extra}

    def argv(self, *words: str | Path) -> list[str]:
        given = [str(word) for word in words]
        if given[0] == "provision" and not any(word in given for word in WAVES):
            given += ALL_AT_ONCE
        return [sys.executable, "-m", "phi4_edge", *given]

    def run(self, *words: str | Path, stdin: str = "", timeout: float = 600) -> Done:
        """The finished command, whatever its exit code."""
        argv = self.argv(*words)
        done = subprocess.run(
            argv, cwd=self.home, env=self.env, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        return Done(argv, done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """The running command, leader of its own process group, for tests that interrupt it."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def local_facts(cli: Cli, inventory: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What Ansible itself finds in the folder of local facts, by host; `folder` is for its answers."""
    ansible = Path(sys.executable).parent / "ansible"
    words = ["-m", "ansible.builtin.setup", "-a", "filter=ansible_local", "--tree", folder]
    done = subprocess.run(
        [ansible, "-i", inventory, "all", *words], cwd=ROOT, env=cli.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    return {name: dict(told["ansible_facts"].get("ansible_local") or {}) for name, told in found.items()}


def run_processes(pid: int) -> set[int]:
    """Processes that say that they belong to a run of the controller `pid`, in their environment or their title."""
    sign, found = f"phi4-edge-run-{pid}-".encode(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if sign in (entry / "environ").read_bytes() or sign in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found


# What a clean host may change by itself while nobody touches it.
VOLATILE = (
    "/proc",
    "/sys",
    "/run",
    "/tmp",
    "/dev",
    "/var/log",
    "/var/tmp",
    "/var/cache",
    "/var/lib/systemd",
    "/var/lib/docker",
    "/var/lib/containerd",
)
RESTLESS = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/machine-id", "/home", "/root")


@dataclass(frozen=True)
class Gateway:
    """One lab host, seen over plain ssh."""

    lab: lab_room.Lab
    name: str

    def sh(self, script: str, code: int | None = 0, stdin: str = "") -> str:
        """Output of a shell script that runs as root on the host; None accepts every exit code."""
        argv = lab_room.ssh_command(self.lab, self.lab.host(self.name), ["sudo", "sh", "-c", script])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False, input=stdin)
        assert code is None or done.returncode == code, (
            f"{self.name}: {script}\n{done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def tree(self) -> dict[str, str]:
        """Type, mode, owner, size and content hash of everything that should stay as it was, by path."""
        prune = " -o ".join(f"-path {path}" for path in VOLATILE + RESTLESS)
        find = f"find / -xdev \\( {prune} \\) -prune -o -printf '%p\\t%y %m %U:%G %l\\n'"
        found = dict(line.split("\t", 1) for line in self.sh(find).splitlines())
        for line in self.sh("find /etc /opt /usr/local -xdev -type f -exec sha256sum {} +").splitlines():
            digest, path = line.split(maxsplit=1)
            if path in found:
                found[path] += f" {digest}"
        return found

    def receipt(self) -> dict[str, Any]:
        """The receipt as it lies on the host."""
        data: dict[str, Any] = json.loads(self.sh("cat /var/lib/phi4-edge/receipt.json"))
        return data

    def properties(self) -> dict[str, str]:
        """What systemd says of the service."""
        text = self.sh("systemctl show phi4-edge -p ActiveState,UnitFileState,MainPID,NRestarts,DynamicUser,User")
        return dict(line.split("=", 1) for line in text.splitlines())

    def post(self, path: str, body: dict[str, Any], port: int = PORT) -> str:
        """Answer of the engine to a request made on the host itself."""
        data = shlex.quote(json.dumps(body))
        return self.sh(
            f"curl -sS --max-time 120 -H 'content-type: application/json' -d {data} http://127.0.0.1:{port}{path}"
        )

    def chat(self, prompt: str, tokens: int = 16, port: int = PORT) -> dict[str, Any]:
        """A plain chat completion, greedy."""
        body = {
            "model": "phi-4-mini-instruct", "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens, "temperature": 0,
        }  # fmt: skip
        answer: dict[str, Any] = json.loads(self.post("/v1/chat/completions", body, port))
        return answer

    def journal(self) -> str:
        """The last lines of the service's log, for the report of a failed test."""
        return self.sh("journalctl -u phi4-edge -n 60 --no-pager", code=None)
