"""The doctor's scripts as a host runs them: below a folder that stands for "/", and on this machine."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.core.layout import STANDARD
from phi4_edge.remote import framing, scripts
from phi4_edge.runner import program
from phi4_edge.runner import run as runner_run
from tests.ansible.plays import ROOT, play, write_inventory
from tests.ansible.probe_run import place

NONCE = "n0nce"


def ask(script: str, env: dict[str, str] | None = None, **args: Any) -> dict[str, Any]:
    """The document of a script of the doctor; it never says anything else, and never fails."""
    line = framing.command(sys.executable, NONCE, script)
    done = subprocess.run(
        ["/bin/sh", "-c", line], input=framing.stdin(script, args), capture_output=True, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **(env or {})},
    )  # fmt: skip
    assert done.stderr == b""
    assert done.returncode == 0
    return framing.parse(done.stdout.decode(), NONCE)


def sources(root: Path | None = None) -> dict[str, Any]:
    document = ask(scripts.composed("doctor", "doctor"), root=str(root) if root else "", layout=STANDARD.to_dict())
    assert document["format"] == "phi4-edge/doctor-root/1"
    assert document["first"] <= document["last"]
    found: dict[str, Any] = document["sources"]
    return found


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    """The process that holds the lock of dpkg below the folder, as apt takes it."""
    path = place(tmp_path, "/var/lib/dpkg/lock-frontend", "")
    process = subprocess.Popen(
        [sys.executable, "-c", "import fcntl,sys;f=open(sys.argv[1],'w');fcntl.lockf(f,fcntl.LOCK_EX);print('held',"
         "flush=True);sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process.pid
    process.communicate()


def test_a_lock_of_dpkg_is_seen_with_its_holder_and_not_taken(held: int, tmp_path: Path) -> None:
    line = sources(tmp_path)["dpkg_locks"]["text"]
    assert line.startswith(f"/var/lib/dpkg/lock-frontend {held} ")
    assert "python" in line


def test_a_free_lock_is_free_and_stays_so(tmp_path: Path) -> None:
    path = place(tmp_path, "/var/lib/dpkg/lock-frontend", "")
    assert sources(tmp_path)["dpkg_locks"] == {"text": ""}
    with path.open("r+b") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_lies_in_files_is_read_from_there(tmp_path: Path) -> None:
    place(tmp_path, "/etc/resolv.conf", "# none\nnameserver 192.0.2.7\n")
    place(tmp_path, "/etc/apt/sources.list", "# deb http://commented.invalid x\ndeb http://mirror.invalid/debian x\n")
    place(tmp_path, "/etc/sudoers", "Defaults !requiretty\nDefaults:bob requiretty\n")
    place(tmp_path, "/etc/sudoers.d/gw", "Defaults  use_pty, requiretty\n")
    place(tmp_path, "/etc/cdi/nvidia.yaml", "kind: nvidia.com/gpu\nhostPath: /usr/lib/libcuda.so.570.86.10\n")
    place(tmp_path, "/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu\n")
    place(tmp_path, "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.90.07", "")
    place(tmp_path, "/proc/vmstat", "nr_free_pages 1\noom_kill 4\n")
    found = {name: answer.get("text") for name, answer in sources(tmp_path).items()}
    assert found["dns"].startswith("servers 192.0.2.7\n")
    assert "mirror.invalid failed" in found["dns"]
    assert "commented.invalid" not in found["dns"]
    rules = ["/etc/sudoers Defaults:bob requiretty", "/etc/sudoers.d/gw Defaults  use_pty, requiretty"]
    assert found["sudoers"].splitlines() == rules
    assert found["cdi"] == "/etc/cdi/nvidia.yaml 570.86.10"
    assert found["nvidia_versions"] == "kernel 550.54.14\nlibrary 550.90.07"
    assert found["oom_kills"] == "4"


def asked(root: Path) -> list[str]:
    """The names that were resolved, but the host's own."""
    return [line.split()[0] for line in sources(root)["dns"]["text"].splitlines()[2:]]


def test_the_names_are_those_of_the_sources_or_of_the_proxy_that_asks_for_them(tmp_path: Path) -> None:
    place(
        tmp_path,
        "/etc/apt/sources.list",
        "  # deb http://commented.invalid x\ndeb https://me:s3cr3t@pool.invalid/d x\n",
    )
    place(tmp_path, "/etc/apt/sources.list.d/own.sources", "URIs: http://own.invalid/debian\n")
    place(tmp_path, "/etc/apt/apt.conf.d/01none", '// Acquire::http::Proxy "http://commented.invalid:3128";\n')
    assert asked(tmp_path) == ["pool.invalid", "own.invalid"]
    place(tmp_path, "/etc/apt/apt.conf.d/02proxy", 'Acquire::http::Proxy "http://me:s3cr3t@proxy.invalid:3128/";\n')
    assert asked(tmp_path) == ["proxy.invalid"]


def test_this_machine_answers_every_source_with_a_text_or_a_reason() -> None:
    found = sources()
    for name, answer in found.items():
        assert ("text" in answer) is not ("gap" in answer), name


def test_the_way_of_a_command_through_the_login_shell_is_measured() -> None:
    found = ask(scripts.composed("doctor", "login"))
    assert found["shell"].startswith("/")
    assert len(found["with_shell"]) == len(found["without"]) >= 3
    assert all(0 < seconds < 10 for seconds in (*found["with_shell"], *found["without"]))
    assert found["status"] == 0
    assert "with_shell" not in ask(scripts.composed("doctor", "login"), measure=False)


def test_the_playbook_changes_nothing_and_works_in_check_mode(tmp_path: Path) -> None:
    inventory = write_inventory(tmp_path, {"here": {"ansible_become": False, "probe_become": False,
                                                    "doctor_become": False}})  # fmt: skip
    # What is wrong with this machine is its own affair.
    for options in ((), ("--check",)):
        played = play(ROOT / "playbooks" / "doctor.yml", inventory, "-e", "phi4_doctor_fail=false", *options, "-v")
        assert played.status == 0, played.output
        assert played.recap("here")["changed"] == 0
        assert "phi4-edge/doctor-host/1" in played.output
        assert "phi4-edge/facts/1" in played.output
        assert re.search(r'"msg": "here: (nothing found|\d+ (problem|warning|note)s?)', played.output)


def test_the_command_drives_it_without_the_line_and_without_its_failure(tmp_path: Path) -> None:
    inventory = write_inventory(tmp_path, {"here": {"ansible_become": False, "probe_become": False,
                                                    "doctor_become": False, "phi4_port": "none"}})  # fmt: skip
    heard: list[runner_run.HostEvent] = []
    run = runner_run.build_run(content.playbook("doctor"), [inventory])
    ended = program.execute(run, heard.append).hosts["here"]
    assert (ended.status, ended.message) == ("ok", "")
    assert set(ended.facts) == {"phi4_doctor", "phi4_facts"}
    assert not [event for event in heard if "Say" in event.task]
    played = play(ROOT / "playbooks" / "doctor.yml", inventory)
    assert played.status == 2
    assert "here: phi4_port: found" in played.output
