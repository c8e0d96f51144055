"""ansible-playbook from a process that has imported it: output and exit status are those of Ansible's own program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from phi4_edge.errors import RunnerError
from phi4_edge.runner.forkserver import ForkServer
from phi4_edge.runner.process import MARKER, family, reap

pytestmark = pytest.mark.slow

THEIRS = (str(Path(sys.executable).parent / "ansible-playbook"),)
PLAY = """- hosts: all
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.pipe', 'echo found') }}"
      failed_when: fail | default(false) | bool
"""


Ran = tuple[int, str, str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    folder = tmp_path / "private"
    folder.mkdir()
    kept = ForkServer(folder)
    yield kept
    kept.close()
    assert [each.name for each in folder.iterdir()] in ([], ["ansible.said"])


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", **more}


def done(command: tuple[str, ...], folder: Path, env: Mapping[str, str], *words: str) -> Ran:
    found = subprocess.run(
        [*command, *words], capture_output=True, text=True, env=env, cwd=folder, timeout=240, check=False
    )
    return found.returncode, found.stdout, found.stderr


def ours(server: ForkServer, folder: Path, *words: str, **more: str) -> Ran:
    env = environment(folder)
    command = (*server.command(env, folder), "ansible-playbook")
    return done(command, folder, {**env, **more}, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("-i", "gw1,", "play.yml"),
        ("-i", "gw1,", "play.yml", "-e", "fail=true"),
        ("-i", "gw1,", "missing.yml"),
        ("--no-such-option",),
    ],
)
def test_it_says_and_returns_what_ansible_playbook_does(
    tmp_path: Path, server: ForkServer, words: tuple[str, ...]
) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    theirs = done(THEIRS, tmp_path, environment(tmp_path), *words)
    assert ours(server, tmp_path, *words) == theirs
    (kept,) = server.pids
    assert ours(server, tmp_path, *words) == theirs
    assert server.pids == {kept}


def test_each_run_has_its_own_environment_and_folder(tmp_path: Path, server: ForkServer) -> None:
    play = PLAY.replace("echo found", "echo $JOB_ID in $PWD")
    (tmp_path / "play.yml").write_text(play)
    for job in ("one", "two"):
        status, output, _ = ours(server, tmp_path, "-i", "gw1,", "play.yml", JOB_ID=job)
        assert status == 0 and f'"msg": "{job} in {tmp_path}"' in output


def test_what_ansible_says_while_it_is_imported_is_said_in_each_run(tmp_path: Path, server: ForkServer) -> None:
    """Its warnings of a configuration, and why it cannot even begin."""
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = many\n")
    status, output, errors = ours(server, tmp_path, "-i", "gw1,", "play.yml")
    assert status and "forks" in output + errors.lower()
    (kept,) = server.pids
    os.waitid(os.P_PID, kept, os.WEXITED | os.WNOWAIT)
    (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = 3\n")
    assert ours(server, tmp_path, "-i", "gw1,", "play.yml")[0] == 0  # who has ended is started again


def test_another_environment_is_another_import(tmp_path: Path, server: ForkServer) -> None:
    (tmp_path / "play.yml").write_text(PLAY.replace("'echo found'", "'echo ' ~ lookup('config', 'DEFAULT_TIMEOUT')"))
    seen = []
    for timeout in ("41", "42", "42"):
        env = environment(tmp_path, ANSIBLE_TIMEOUT=timeout)
        command = (*server.command(env, tmp_path), "ansible-playbook")
        status, output, errors = done(command, tmp_path, env, "-i", "gw1,", "play.yml")
        assert (status, errors) == (0, "") and f'"msg": "{timeout}"' in output
        seen += server.pids
    assert len(set(seen)) == 2 and seen[1] == seen[2]


def test_whoever_goes_while_asking_and_whoever_says_nonsense_keep_nobody_else_waiting(
    tmp_path: Path, server: ForkServer
) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    server.command(environment(tmp_path), tmp_path)
    for said in (b"", b"{", b"\xff" * 100_000):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / "private" / "ansible"))
            stranger.sendall(said)
    assert ours(server, tmp_path, "-i", "gw1,", "play.yml")[0] == 0


@pytest.mark.parametrize("kept_ends", [False, True])
def test_a_signal_reaches_the_run_and_the_end_of_the_kept_process_is_told(
    tmp_path: Path, server: ForkServer, kept_ends: bool
) -> None:
    (tmp_path / "play.yml").write_text(PLAY.replace("echo found", "touch began; exec sleep 600"))
    env = environment(tmp_path, **{MARKER: "private"})
    command = [*server.command(env, tmp_path), "ansible-playbook", "-i", "gw1,", "play.yml"]
    asking = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (tmp_path / "began").exists() and time.monotonic() < end:
        time.sleep(0.05)
    (kept,) = server.pids
    if kept_ends:
        os.kill(kept, signal.SIGKILL)
    else:
        asking.send_signal(signal.SIGTERM)
    assert asking.wait(120) == (127 if kept_ends else 128 + signal.SIGTERM)
    assert reap(tmp_path / "private", spared=server.pids) == set()
    assert family(tmp_path / "private") == server.pids - ({kept} if kept_ends else set())


def test_where_ansible_cannot_be_started_that_is_said(tmp_path: Path, server: ForkServer) -> None:
    with pytest.raises(RunnerError, match=r"no way to start Ansible in .*gone"):
        server.command(environment(tmp_path), tmp_path / "gone")


def test_a_folder_may_have_a_longer_path_than_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (tmp_path / "play.yml").write_text(PLAY)
    kept = ForkServer(folder)
    try:
        assert ours(kept, tmp_path, "-i", "gw1,", "play.yml")[0] == 0
    finally:
        kept.close()


def test_what_lies_beside_it_hides_no_module_of_others(tmp_path: Path, server: ForkServer) -> None:
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
    status, output, errors = ours(server, tmp_path, "-i", "gw1,", "play.yml")
    assert (status, errors) == (0, "")
    assert '"msg": "[]"' in output
