"""Every command that the README shows works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import ROOT, Cli

pytestmark = pytest.mark.e2e

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCK.findall((ROOT / "README.md").read_text()) for line in block.splitlines() if line]


def test_the_readme_begins_with_the_two_commands() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert all(command.startswith("phi4-edge ") for command in COMMANDS[2:])


@dataclass(frozen=True)
class Demo:
    """What `make demo` printed, and a directory with its inventory under the name that the README uses."""

    done: subprocess.CompletedProcess[str]
    folder: Path


def run(argv: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def demo(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The README's first command; its gateways stay up for the others."""
    env = {name: value for name, value in ready.env.items() if not name.startswith("MAKE")}
    done = run(["make", "demo"], ROOT, env)
    folder = tmp_path_factory.mktemp("readme")
    try:
        if done.returncode == 0:
            shutil.copyfile(ROOT / "build" / "demo" / "inventory.ini", folder / "gateways.ini")
        yield Demo(done, folder)
    finally:
        lab_room.down("demo")


def test_make_demo_ends_with_answers_and_nothing_to_do(demo: Demo) -> None:
    said = demo.done
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-4000:]
    answers, again = said.stdout.split("==> Ask each gateway")[1].split("==> Provision again")
    for host in ("gw1", "gw2", "gw3"):
        (answer,) = re.findall(rf"^{host}:\s*(\S.+)$", answers, re.MULTILINE)
        assert len(answer.split()) >= 3
    assert "changed=0" in again + said.stderr


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_command_of_the_readme(ready: Cli, demo: Demo, command: str) -> None:
    env = {**ready.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = run(["bash", "-c", command], demo.folder, env)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_make_test_is_what_is_running_now() -> None:
    shown = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m pytest" in shown
