"""Our way to start ansible-playbook is its own: output, exit status, and what lies beside our program is not seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi4_edge.runner.run import ANSIBLE

THEIRS = (str(Path(sys.executable).parent / "ansible-playbook"),)
OURS = (*ANSIBLE, "ansible-playbook")
PLAY = """- hosts: all
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.pipe', 'echo found') }}"
      failed_when: fail | default(false) | bool
"""


def done(command: tuple[str, ...], folder: Path, *words: str) -> tuple[int, str, str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
    found = subprocess.run(
        [*command, *words], capture_output=True, text=True, env=env, cwd=folder, timeout=240, check=False
    )
    return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("-i", "gw1,", "play.yml"),
        ("-i", "gw1,", "play.yml", "-e", "fail=true"),
        ("-i", "gw1,", "missing.yml"),
        ("--no-such-option",),
    ],
)
def test_it_says_and_returns_what_ansible_playbook_does(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    assert done(OURS, tmp_path, *words) == done(THEIRS, tmp_path, *words)


def test_what_lies_beside_it_hides_no_module_of_others(tmp_path: Path) -> None:
    """`events`, `process` and `run` are names that others use as well."""
    plugins = tmp_path / "lookup_plugins"
    plugins.mkdir()
    (plugins / "seen.py").write_text(
        "import importlib.util\nfrom ansible.plugins.lookup import LookupBase\n"
        "class LookupModule(LookupBase):\n"
        "    def run(self, terms, variables=None, **options):\n"
        "        return [str([name for name in ('events', 'process', 'run') if importlib.util.find_spec(name)])]\n"
    )
    (tmp_path / "play.yml").write_text(PLAY.replace("'ansible.builtin.pipe', 'echo found'", "'seen'"))
    status, output, errors = done(OURS, tmp_path, "-i", "gw1,", "play.yml")
    assert (status, errors) == (0, "")
    assert '"msg": "[]"' in output
