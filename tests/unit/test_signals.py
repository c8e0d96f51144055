"""Ctrl-C and SIGTERM end every command within 2 s, whatever the hosts, their sshd, ssh and its children do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.unit.ssh.standin_sshd import HOST_KEY, Server, serving

pytestmark = pytest.mark.slow

MOST_SECONDS = 2.0
# The stages at which a host is silent or drips when the signal comes.
STAGES = (
    ("banner", "silence", signal.SIGTERM),
    ("kex", "drip", signal.SIGINT),
    ("auth", "silence", signal.SIGTERM),
    ("exec", "silence", signal.SIGINT),
    ("output", "drip", signal.SIGTERM),
)
# In the background SIGINT is the one that a program does not hear by itself.
PREFLIGHT = (
    ("plan", signal.SIGINT),
    ("detect", signal.SIGTERM),
    ("status", signal.SIGINT),
    ("doctor", signal.SIGINT),
    ("verify", signal.SIGTERM),
)
TUNNEL = (("greeting", signal.SIGTERM), ("list", signal.SIGINT), ("answer", signal.SIGTERM), ("answer", signal.SIGINT))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A file in which the hosts are still to be named; ssh asks nobody but the given files."""
    key = tmp_path / "key"
    paramiko.ECDSAKey.generate().write_private_key_file(str(key))
    key.chmod(0o600)
    known = tmp_path / "known"
    known.write_text(f"gateway {HOST_KEY.get_name()} {HOST_KEY.get_base64()}\n")
    path = tmp_path / "hosts.ini"
    args = f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none -o HostKeyAlias=gateway -F none"
    path.write_text(
        "[all:vars]\nansible_user=edge\nansible_python_interpreter=/usr/bin/python3\n"
        f"ansible_ssh_private_key_file={key}\nansible_ssh_common_args={args}\n[all]\n"
    )
    return path


def name(inventory: Path, *ports: int) -> Path:
    lines = (f"gw{number} ansible_host=127.0.0.1 ansible_port={port}\n" for number, port in enumerate(ports, 1))
    inventory.write_text(inventory.read_text() + "".join(lines))
    return inventory


@contextlib.contextmanager
def running(folder: Path, *words: object, path: str = "", background: bool = False) -> Iterator[subprocess.Popen[str]]:
    """The program, as a shell starts it; with `background` as one starts it without job control: SIGINT is ignored."""
    env = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "PATH": path + os.environ["PATH"]}
    env.pop("SSH_AUTH_SOCK", None)
    ignore = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if background else None
    with subprocess.Popen(
        [sys.executable, "-m", "phi4_edge", *map(str, words)],
        env=env,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=ignore,  # noqa: PLW1509  (one thread)
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """What it printed, after it has ended in time, with the exit code of an interruption."""
    start = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    took = time.monotonic() - start
    assert took < MOST_SECONDS or took < MOST_SECONDS + 10 * moment(), said
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    return said


def moment() -> float:
    """Seconds that a program which does nothing takes here and now: 0.02 of them where nobody else is at work."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-ISc", ""], check=True)
    return time.monotonic() - start


def wait_for(what: Path | Server) -> None:
    """The program is where it is to be stopped: a host has heard of it, or a stand-in has written its file."""
    limit = time.monotonic() + 60
    while not (what.exists() if isinstance(what, Path) else what.reached.is_set()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(0.3)


@pytest.mark.parametrize(("stage", "behaviour", "number"), STAGES)
def test_plan_ends_while_a_host_is_slow(
    tmp_path: Path, inventory: Path, stage: str, behaviour: str, number: signal.Signals
) -> None:
    slow = Server(stage, behaviour)
    with serving(slow) as port, running(tmp_path, "plan", name(inventory, port, port)) as process:
        wait_for(slow)
        end(process, number)


@pytest.mark.parametrize(("command", "number"), PREFLIGHT)
def test_every_command_that_looks_first_ends_in_the_background_too(
    tmp_path: Path, inventory: Path, command: str, number: signal.Signals
) -> None:
    slow = Server("output", "drip")
    with (
        serving(slow) as port,
        running(tmp_path, command, name(inventory, port), background=True) as process,
    ):
        wait_for(slow)
        end(process, number)


# In place of ssh: it ignores SIGTERM, as do the processes of jump hosts that it starts, and holds the connection.
SSH = """
import os, re, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
jump = subprocess.Popen(["sleep", "600"])
mark = re.search(" ([0-9a-f]{{32}}) ", sys.argv[-1])[1]
models = b'{{"data": [{{"id": "phi-4-mini-instruct"}}]}}'
def note():
    with open({file!r}, "a") as stream:
        stream.write("%d %d\\n" % (os.getpid(), jump.pid))
if {stage!r} == "greeting":
    note()
    time.sleep(600)
os.write(1, b'\\n' + mark.encode() + b' {{"unknown": "hidden"}}\\n')
os.read(0, 65536)
if {stage!r} == "list":
    note()
    time.sleep(600)
os.write(1, b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(models) + models)
os.read(0, 65536)
os.write(1, b'HTTP/1.1 200 OK\\r\\n\\r\\n')
while True:
    os.write(1, b'data: {{"choices": [{{"delta": {{"content": "la "}}}}]}}\\n\\n')
    note()
    time.sleep(0.2)
"""


def stand_in_for_ssh(folder: Path, stage: str) -> Path:
    """It is on folder/bin; the file will have the ids of its processes, a line for each that was started."""
    processes, program = folder / "processes", folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n" + SSH.format(file=str(processes), stage=stage))
    program.chmod(0o755)
    return processes


def left_of(processes: Path) -> list[str]:
    """Those that still run; the program has ended, so nobody but init may have waited for them.

    One that was killed ends when the machine comes to it.
    """

    def runs(process: str) -> bool:
        try:
            return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    limit = time.monotonic() + 2
    while (left := [one for one in processes.read_text().split() if runs(one)]) and time.monotonic() < limit:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(("stage", "number"), TUNNEL)
def test_ask_ends_with_its_tunnel_and_the_jump_host_s_process(
    tmp_path: Path, inventory: Path, stage: str, number: signal.Signals
) -> None:
    processes = stand_in_for_ssh(tmp_path, stage)
    with running(tmp_path, "ask", name(inventory, 22), "Hello?", path=f"{tmp_path / 'bin'}:") as process:
        wait_for(processes)
        said = end(process, number)
    assert ("la la" in said) == (stage == "answer")
    assert not left_of(processes)


HELD = """
import atexit, sys, threading, time
import click
from phi4_edge import main
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)

@click.command()
def command():
    print("ready", flush=True)
    time.sleep(600)

main.Program.get_command = lambda *_: command
sys.argv = ["phi4-edge", "hang"]
main.main()
"""


# The part of verify and status that comes behind the look: hosts that serve, each through a tunnel of its own.
ASKING = """
import dataclasses, json, sys
import click
from phi4_edge import main
from phi4_edge.operations import verify
from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.data import load_prompts
from phi4_edge.inventory import Host
from phi4_edge.inference.prompts import parse as prompts

@click.command()
def command():
    with open(sys.argv[2]) as stream:
        facts = parse(json.load(stream))
    receipt = Receipt(True, engine="onnx", model="tiny", bind="127.0.0.1", port=1)
    facts = dataclasses.replace(facts, receipt=receipt)
    hosts = {name: (Host(name, "127.0.0.1"), facts) for name in ("gw1", "gw2", "gw3")}
    questions = verify.Questions(prompts(load_prompts()[1], "ours"), 600)
    verify.ask_all(hosts, questions, 2, print, print)

main.Program.get_command = lambda *_: command
sys.argv[1:] = ["hang", sys.argv[1]]
main.Program.resolve_command = lambda self, ctx, args: ("hang", command, [])
main.main()
"""


@pytest.mark.parametrize(("stage", "number"), TUNNEL)
def test_verify_ends_with_all_its_tunnels(tmp_path: Path, stage: str, number: signal.Signals) -> None:
    processes = stand_in_for_ssh(tmp_path, stage)
    facts = Path(__file__).parents[1] / "fixtures" / "hosts" / "n150-8gb.json"
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [sys.executable, "-c", ASKING, facts], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        wait_for(processes)
        end(process, number)
    assert not left_of(processes)


def test_a_library_that_would_hold_the_program_does_not() -> None:
    """A thread that is no daemon, and an exit handler that waits."""
    with subprocess.Popen(
        [sys.executable, "-c", HELD], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        end(process, signal.SIGTERM)
