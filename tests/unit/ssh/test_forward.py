"""The way back through ssh, of which a program of ours takes the place."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.errors import UnreachableError
from phi4_edge.ssh import forward, held
from phi4_edge.ssh.forward import Forward

HOST = Host("gw1", "192.0.2.7", port=2222, user="edge")
OPENS = """\
import os, sys
open(sys.argv[0] + ".pid", "w").write(str(os.getpid()))
sys.stderr.write("a banner\\nAllocated port 40123 for remote forward to /x\\n" + "noise " * 40_000)
sys.stderr.flush()
sys.stdin.read()
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return path


def test_the_command_is_that_of_ansible_with_a_way_back_on_loopback_alone() -> None:
    found = forward.command(HOST, Path("/private/ranges"))
    assert found[:2] == ["ssh", "-T"]
    assert found[-5:] == ["-R", "127.0.0.1:0:/private/ranges", "--", "192.0.2.7", "cat >/dev/null"]
    options = [found[at + 1] for at, word in enumerate(found) if word == "-o"]
    for wanted in ("ControlPath=none", "ControlMaster=no", "BatchMode=yes", "ExitOnForwardFailure=yes", "Port=2222"):
        assert wanted in options
    assert options.index("ControlPath=none") < options.index("Port=2222")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (Host("gw1", "c", connection="community.docker.docker"), "not ssh"),
        (Host("gw1", "c", connection="local"), "not ssh"),
        (Host("gw1", "c", ssh=SshSettings(password="secret")), "by password"),
        (Host("gw1", "c", ssh=SshSettings(extra_args="'")), "cannot be read"),
    ],
)
def test_a_host_that_is_reached_otherwise_has_none(host: Host, why: str) -> None:
    with pytest.raises(UnreachableError, match=why):
        Forward(host, Path("/private/ranges"))


def test_it_is_open_until_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, OPENS)
    with Forward(HOST, tmp_path / "ranges") as opened:
        assert opened.port == 40123
        pid = int(path.with_suffix(".pid").read_text())
        os.kill(pid, 0)
        opened.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import sys; sys.exit('Error: remote port forwarding failed for listen port 0')", "forwarding failed"),
        ("import sys; sys.exit('Allocated port 99999 for remote forward to /x')", "ssh gave the port 99999"),
        ("", "nothing was said in time"),
    ],
)
def test_where_sshd_gives_none_its_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, why: str
) -> None:
    stand_in(tmp_path, monkeypatch, body)
    with pytest.raises(UnreachableError, match=why):
        Forward(HOST, tmp_path / "ranges")


def test_an_ssh_that_says_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "OPEN_SECONDS", 0.5)
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="nothing was said in time"):
        Forward(Host("gw1", "192.0.2.7", ssh=SshSettings(timeout=0)), tmp_path / "ranges")
    assert time.monotonic() - began < 10


def test_without_ssh_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no ssh to run"):
        Forward(Host("gw1", "192.0.2.7", ssh=SshSettings(executable=str(tmp_path / "none"))), tmp_path / "ranges")
