"""playbooks/detect.yml through the runner, on this machine: no root, no Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.errors import RunnerError
from phi4_edge.runner import program
from phi4_edge.runner import run as runner_run

PLAIN = {"probe_become": False}


def inventory(folder: Path, *lines: str) -> Path:
    path = folder / "hosts.ini"
    path.write_text("[all:vars]\nansible_connection=local\n[all]\n" + "\n".join(lines) + "\n")
    return path


def detect(folder: Path, *lines: str, **changes: Any) -> tuple[runner_run.RunResult, list[runner_run.HostEvent]]:
    heard: list[runner_run.HostEvent] = []
    given: dict[str, Any] = {"extra_vars": PLAIN, **changes}
    run = runner_run.build_run(content.playbook("detect"), [inventory(folder, *lines)], **given)
    return program.execute(run, heard.append), heard


def fake_python(folder: Path, name: str, body: str) -> str:
    """Stands for a host whose Python misbehaves."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("check", [False, True])
def test_facts_of_every_host_arrive_as_data(tmp_path: Path, check: bool, capfd: pytest.CaptureFixture[str]) -> None:
    python = f"ansible_python_interpreter={sys.executable}"
    result, heard = detect(tmp_path, f"a {python}", f"b {python}", check=check)
    assert {end.host: end.status for end in result.hosts.values()} == {"a": "ok", "b": "ok"}
    document = result.hosts["a"].facts["phi4_facts"]
    assert (document["format"], document["host"]) == ("phi4-edge/facts/1", "a")
    assert "MemTotal" in document["sources"]["meminfo"]["text"]
    assert result.hosts["a"].changed == 0
    assert {event.role for event in heard} == {"probe"}
    assert any(event.seconds > 0 for event in heard)
    assert capfd.readouterr() == ("", "")


def test_large_documents_survive_the_way(tmp_path: Path) -> None:
    big = "import os, sys\nsys.path.insert(0, '')\n" + FRAME.replace("SIZE", "1_000_000").replace("MORE", "{}")
    result, _ = detect(tmp_path, f"a ansible_python_interpreter={fake_python(tmp_path, 'python', big)}")
    assert len(result.hosts["a"].facts["phi4_facts"]["sources"]["x2"]["text"]) == 1_000_000


# What a host may answer instead of running the script: the nonce follows -IB -c CODE.
MORE = "{'phi4_port': 1, 'ansible_remote_tmp': '/evil'}"
FRAME = """
import base64, json, zlib
sys.stdin.buffer.read()
nonce = sys.argv[4]
document = {"format": "phi4-edge/facts/1", "sources": {"x%d" % n: {"text": "y" * SIZE} for n in range(3)}}
document.update(MORE)
packed = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
print(nonce + ":BEGIN", packed, nonce + ":END", sep="\\n")
"""

HOSTILE = {
    "no Python": (None, "ansible_python_interpreter names .*, which is not there, needed Python"),
    "garbage": ("import os, sys; sys.stdin.buffer.read(); os.write(1, b'\\xff\\xfe\\x1b[2J' * 100)", "no answer"),
    "a crash": ("import sys; sys.stdin.buffer.read(); sys.exit('boom \\x1b[31m')", "exit status 1: boom .$"),
    "silence": ("import time; time.sleep(600)", "Timed out"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_host_fails_alone_and_cleanly(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    body, said = HOSTILE[name]
    python = fake_python(tmp_path, "python", body) if body else "/nonexistent/python"
    lines = [f"good ansible_python_interpreter={sys.executable}", f"bad ansible_python_interpreter={python}"]
    result, _ = detect(tmp_path, *lines, extra_vars={**PLAIN, "probe_timeout_seconds": 4})
    assert {end.host: end.status for end in result.hosts.values()} == {"good": "ok", "bad": "failed"}
    message = result.hosts["bad"].message
    assert "\x1b" not in message
    assert subprocess.run(["grep", "-qE", said], input=message, text=True, check=False).returncode == 0, message
    assert capfd.readouterr() == ("", "")


def test_output_without_end_is_bounded(tmp_path: Path) -> None:
    body = "import os, sys\nsys.stdin.buffer.read()\nwhile True: os.write(1, b'x' * 65536)"
    result, _ = detect(tmp_path, f"a ansible_python_interpreter={fake_python(tmp_path, 'python', body)}")
    assert "found more output from a than" in result.hosts["a"].message


def test_a_fact_never_becomes_a_variable(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "python", "import sys\n" + FRAME.replace("SIZE", "3").replace("MORE", "{}"))
    playbook = tmp_path / "site.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  roles: [phi4_edge.edge.probe]\n  tasks:\n"
        '    - ansible.builtin.debug:\n        msg: "{{ phi4_port }} {{ phi4_facts is defined }}"\n'
    )
    heard: list[runner_run.HostEvent] = []
    hosts = inventory(tmp_path, f"a phi4_port=8080 ansible_python_interpreter={python}")
    program.execute(runner_run.build_run(playbook, [hosts], extra_vars=PLAIN), heard.append)
    assert heard[-1].result["msg"] == "8080 False"


def test_what_a_host_says_besides_is_no_answer(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "python", "import sys\n" + FRAME.replace("SIZE", "3").replace("MORE", MORE))
    result, _ = detect(tmp_path, f"a phi4_port=8080 ansible_python_interpreter={python}")
    assert (result.hosts["a"].status, result.hosts["a"].facts) == ("failed", {})
    assert "an invalid answer from a (probe probe: key 'phi4_port'" in result.hosts["a"].message


def test_what_ansible_cannot_run_is_said_in_its_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n  roles: [no_such_role]\n")
    with pytest.raises(RunnerError, match=r"(?s)could not run.*no_such_role"):
        program.execute(runner_run.build_run(playbook, [inventory(tmp_path, "a")]), lambda event: None)
    assert capfd.readouterr() == ("", "")


def test_secrets_reach_neither_disk_nor_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks from inside a task at the private directory and the environment, while both exist."""
    monkeypatch.setenv("HF_TOKEN", "c4nary-token")
    monkeypatch.setenv("C4NARY_OTHER", "c4nary-token")
    monkeypatch.setenv("C4NARY_NAME", "handed-on")
    monkeypatch.setenv("PHI4_EDGE_KEEP_ENV", "C4NARY_NAME")
    playbook = tmp_path / "site.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.shell: |\n"
        '        d=$(dirname "$AWX_ISOLATED_DATA_DIR")/..; grep -rl c4nary-token "$d"; env | grep -i c4nary; ls "$d"\n'
    )
    heard: list[runner_run.HostEvent] = []
    hosts = inventory(tmp_path, f"a ansible_python_interpreter={sys.executable}")
    run = runner_run.build_run(playbook, [hosts], become_password="c4nary-become")
    assert "c4nary" not in " ".join(run.argv)
    program.execute(run, heard.append)
    printed = heard[-1].result["stdout"].splitlines()
    assert "C4NARY_NAME=handed-on" in printed
    assert not [line for line in printed if "token" in line]
    assert "become_password" in printed


def test_a_cancel_ends_every_process(tmp_path: Path) -> None:
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.command: sleep 5432.25\n")
    hosts = inventory(tmp_path, f"a ansible_python_interpreter={sys.executable}")
    end = time.monotonic() + 60

    def sleeping() -> bool:
        running = (entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return any(b"5432.25" in _read(path) for path in running)

    result = program.execute(
        runner_run.build_run(playbook, [hosts]), lambda event: None, lambda: sleeping() or time.monotonic() > end
    )
    assert result.cancelled
    assert not sleeping()
    assert not list(Path("/dev/shm").glob(f"phi4-edge-run-{os.getpid()}-*"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_plain_ansible_playbook_works_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(inventory(tmp_path, f"a ansible_python_interpreter={sys.executable}")),
            str(content.playbook("detect")),
            "-e",
            json.dumps(PLAIN),
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(content.collections())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    (line,) = re.findall(r'^ +"msg": "(a: .*)"$', done.stdout, re.MULTILINE)
    assert re.fullmatch(r"a: .*, \d+ cores?, [\d.]+ GiB RAM, .* free, serves .*", line)


def test_each_host_is_looked_at_where_its_variables_say(tmp_path: Path) -> None:
    python = f"ansible_python_interpreter={sys.executable}"
    moved = "phi4_root=/data/phi4 phi4_state=/data/phi4-state"
    result, _ = detect(tmp_path, f"a {python}", f"b {python} {moved}", f"c {python} phi4_state='/data/../etc'")
    assert {end.host: end.status for end in result.hosts.values()} == {"a": "ok", "b": "ok", "c": "failed"}
    documents = {host: result.hosts[host].facts["phi4_facts"] for host in "ab"}
    assert "layout" not in documents["a"]
    assert documents["b"]["layout"] == {"root": "/data/phi4", "state": "/data/phi4-state"}
    for host, first in (("a", ["/opt/phi4-edge", "/var/lib/phi4-edge"]), ("b", ["/data/phi4", "/data/phi4-state"])):
        lines = documents[host]["sources"]["disk"]["text"].splitlines()
        assert [line.split()[0] for line in lines][:2] == first
    said = result.hosts["c"].message
    assert "phi4_state: found '/data/../etc', needed an absolute path of a directory of its own" in said
