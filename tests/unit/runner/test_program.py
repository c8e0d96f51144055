"""One program for several runs: what one leaves to the next is Ansible's import, and nothing else."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from phi4_edge.errors import RunnerError
from phi4_edge.runner.events import HostEvent
from phi4_edge.runner.process import family
from phi4_edge.runner.program import Program
from phi4_edge.runner.run import Run, build_run

pytestmark = pytest.mark.slow

# The parent of the process that runs ansible-playbook is the one that imported it.
WHO = """- hosts: all
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.set_fact:
        importer: "{{ lookup('ansible.builtin.pipe', 'ps -o ppid= -p $(ps -o ppid= -p $PPID)') | trim }}"
        said: "{{ said | default('') }}"
    - name: Wait
      ansible.builtin.command: sleep {{ wait | default(0) }}
      changed_when: false
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    (tmp_path / "site.yml").write_text(WHO)
    path = tmp_path / "hosts.ini"
    path.write_text(f"here ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    return path


def run(hosts: Path, said: str = "", wait: int = 0, task_timeout: int = 0) -> Run:
    wanted = {"said": said, "wait": wait}
    return build_run(hosts.parent / "site.yml", [hosts], extra_vars=wanted, task_timeout=task_timeout)


def ignored(event: HostEvent) -> None:
    """Nobody listens."""


def private_directories() -> list[Path]:
    return list(Path("/dev/shm").glob(f"phi4-edge-run-{os.getpid()}-*"))


def test_ansible_is_imported_once_for_all_runs_and_nothing_is_left(hosts: Path) -> None:
    with Program() as program:
        first = program.execute(run(hosts, "one"), ignored).hosts["here"].facts
        (private,) = private_directories()
        assert len(family(private)) == 1
        assert not (private / "run").exists()
        second = program.execute(run(hosts, "two"), ignored).hosts["here"].facts
        assert (first["said"], second["said"]) == ("one", "two")
        assert first["importer"] == second["importer"] == str(*family(private))
        # A limit of the time of a task is one of Ansible's settings, which it reads when it is imported.
        third = program.execute(run(hosts, "three", task_timeout=77), ignored).hosts["here"].facts
        assert (third["said"], third["importer"] != second["importer"]) == ("three", True)
        assert len(family(private)) == 1
    assert not private.exists() and not family(private)


def test_a_run_that_is_ended_leaves_the_next_one_as_it_would_have_been(hosts: Path) -> None:
    with Program() as program:
        program.execute(run(hosts), ignored)
        (private,) = private_directories()
        kept = family(private)
        begun: list[HostEvent] = []
        start = time.monotonic()
        ended = program.execute(run(hosts, wait=3600), begun.append, lambda: any(e.task == "Wait" for e in begun))
        assert ended.cancelled and time.monotonic() - start < 600
        assert family(private) == kept
        assert not program.execute(run(hosts), ignored).cancelled


def test_what_could_not_run_is_told_and_does_not_hinder_the_next(hosts: Path) -> None:
    good = (hosts.parent / "site.yml").read_text()
    with Program() as program:
        (hosts.parent / "site.yml").write_text("- hosts: [\n")
        with pytest.raises(RunnerError, match="could not run"):
            program.execute(run(hosts), ignored)
        (hosts.parent / "site.yml").write_text(good)
        assert program.execute(run(hosts), ignored).exit_status == 0
