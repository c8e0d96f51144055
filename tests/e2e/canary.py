"""Secrets that sing: planted where an operator has them, looked for wherever they must not be."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.gateway import Gateway

# Each is in the operator's environment. None of these names is on the list of any child.
VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "GH_PAT", "DB_PASS", "DATABASE_URL", "SSHPASS"),
    *("DOCKER_AUTH_CONFIG", "OPENAI_API_KEY"),
)
MOST_BYTES = 64 << 20

# Reads from its standard input what to look for, and says at its end what it saw. No argument of its own is a secret.
POLLER = r"""
import json, os, re, select, sys
wanted = {name: value.encode() for name, value in json.loads(sys.stdin.readline()).items()}
pattern = re.compile(b"|".join(re.escape(value) for value in wanted.values()))
names = {value: name for name, value in wanted.items()}
seen, polls = {}, 0

def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read(1 << 20)
    except OSError:
        return b""

def mode(path):
    try:
        return " in %o" % (os.lstat(path).st_mode & 0o7777)
    except OSError:
        return " in 700"  # gone since: what was seen was read as root

def note(where, found, *more):
    for value in set(pattern.findall(found)):
        key = json.dumps([where, names[value], *more])
        seen[key] = seen.get(key, 0) + 1

print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    polls += 1
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        # An exec between two reads would join one program's words with the other's environment: the next poll sees it.
        words, environ = read(f"/proc/{pid}/cmdline"), read(f"/proc/{pid}/environ")
        for name, found in (("cmdline", words), ("environ", environ)):
            if pattern.search(found) and read(f"/proc/{pid}/cmdline") == words:
                note(name, found, b" ".join(words.split(b"\0")).decode("utf-8", "replace")[:300])
    for folder in os.listdir("/dev/shm"):
        if folder.startswith("phi4-edge-run-"):
            for top, _, files in os.walk("/dev/shm/" + folder):
                for file in files:
                    path = os.path.join(top, file)
                    note("private", read(path), path.split("/", 4)[4] + mode("/dev/shm/" + folder))
print(json.dumps({"polls": polls, "seen": [[*json.loads(key), times] for key, times in seen.items()]}))
"""


@dataclass(frozen=True)
class Sighting:
    """Where a secret was seen: cmdline or environ of a process (`what`: its command), or private (a file of a run)."""

    where: str
    secret: str
    what: str


def planted() -> dict[str, str]:
    """A value for each secret that is nowhere else on this machine."""
    names = (*VARIABLES, "become password", "vault password", "passphrase")
    return {name: f"CANARY-{re.sub('[^A-Z]', '', name.upper())}-{secrets.token_hex(8)}" for name in names}


@contextmanager
def polled(values: Mapping[str, str]) -> Iterator[list[Sighting]]:
    """Meanwhile the processes of controller and hosts are looked at every 20 ms; what was seen is there afterwards."""
    poller = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", POLLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}
    )
    assert poller.stdin is not None
    assert poller.stdout is not None
    poller.stdin.write(json.dumps(dict(values)) + "\n")
    poller.stdin.flush()
    assert poller.stdout.readline() == "ready\n"
    found: list[Sighting] = []
    try:
        yield found
    finally:
        out, _ = poller.communicate("end\n")
    answer: dict[str, Any] = json.loads(out)
    assert answer["polls"] > 50, "the poller did not keep up"
    found += [Sighting(str(line[0]), str(line[1]), str(line[2])) for line in answer["seen"]]


def in_files(values: Mapping[str, str], folders: Iterable[Path], since: float, own: Iterable[Path]) -> list[str]:
    """Files below the folders that were written since and hold a secret; `own` are those of the test itself."""
    pattern = re.compile(b"|".join(re.escape(value.encode()) for value in values.values()))
    names = {value.encode(): name for name, value in values.items()}
    mine, found = {path.resolve() for path in own}, []
    for top in folders:
        for folder, _, files in os.walk(top):
            for path in (Path(folder) / name for name in files):
                if path.resolve() not in mine and (content := _written(path, since)):
                    found += [f"{names[value]} in {path}" for value in set(pattern.findall(content))]
    return found


def _written(path: Path, since: float) -> bytes:
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_mtime < since or about.st_size > MOST_BYTES:
            return b""
        return path.read_bytes()
    except OSError:  # it is gone by now
        return b""


def on_host(gateway: Gateway, values: Mapping[str, str]) -> str:
    """Files and log lines of a host that hold a secret; the patterns go there on standard input."""
    look = "p=$(mktemp -p /dev/shm); cat > $p; grep -rlaF -f $p / --exclude-dir=proc --exclude-dir=sys"
    look += " --exclude=${p##*/}; "
    logs = "journalctl --no-pager -o cat | grep -aF -f $p; rm $p"
    return gateway.sh(look + logs, code=None, stdin="\n".join(values.values()) + "\n")


def vault(path: Path, password: Path, text: str) -> None:
    """A file that Ansible's vault encrypted; the text is on no command line."""
    program = str(Path(sys.executable).parent / "ansible-vault")
    argv = [program, "encrypt", "--vault-password-file", str(password), "--output", str(path), "-"]
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


@contextmanager
def agent(key: Path, passphrase: str, folder: Path) -> Iterator[str]:
    """An ssh agent that holds a key which only a passphrase opens; yields its socket."""
    folder.mkdir(mode=0o700)
    locked, asked, told = folder / "key", folder / "ask", folder / "passphrase"
    locked.write_bytes(key.read_bytes())
    locked.chmod(0o600)
    told.write_text(passphrase)
    asked.write_text(f"#!/bin/sh\ncat {told}\n")
    asked.chmod(0o700)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(locked)], check=True)
    socket = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < end:
            time.sleep(0.05)
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", str(locked)], env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        yield str(socket)
    finally:
        process.terminate()
        process.wait()
