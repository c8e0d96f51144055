"""The look over ssh: real probes of this machine through a server in this process, and hosts that send other things."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.inventory import Host
from phi4_edge.operations import look as looks
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.look import Look
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.runner.access import Access
from phi4_edge.runner.events import HostEvent
from phi4_edge.ssh.guest import Guest
from tests.unit.ssh.shell_sshd import ShellServer, sudo
from tests.unit.ssh.test_check import healthy, host, serving


def framed(document: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


FACTS = {"format": "phi4-edge/facts/1", "sources": {"uname": {"text": "Linux 1 x86_64"}}}
DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]
# What is sent instead of an honest frame, and what is said of it.
LIES = {
    "schema": ("{n}:BEGIN\n" + framed({"format": "x", "sources": {}}) + "\n{n}:END\n", "invalid answer from gw1"),
    "key": ("{n}:BEGIN\n" + framed({**FACTS, "add_host": {}}) + "\n{n}:END\n", "invalid answer from gw1"),
    "list": ("{n}:BEGIN\n" + framed([1]) + "\n{n}:END\n", "a list, a text"),
    "deep": ("{n}:BEGIN\n" + framed({"sources": DEEP}) + "\n{n}:END\n", "nested deeper"),
    "twice": (2 * ("{n}:BEGIN\n" + framed(FACTS) + "\n{n}:END\n"), "2 answers"),
    "cut": ("{n}:BEGIN\n" + framed(FACTS)[:-8] + "\n{n}:END\n", "cannot be unpacked|cut off"),
    "bomb": ("{n}:BEGIN\n" + framed({"a": "b" * 9_000_000}) + "\n{n}:END\n", "more than 4194304 bytes"),
}


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@contextlib.contextmanager
def probed(folder: Path) -> Iterator[tuple[Host, ShellServer]]:
    """A host that is this machine."""
    with serving(healthy, ShellServer, environ=sudo(folder, "nopasswd")) as (port, server):
        found = host(folder, port)
        assert isinstance(server, ShellServer)
        yield replace(found, ssh=replace(found.ssh, python=sys.executable)), server


def looked(hosts: list[Host], **settings: Any) -> tuple[Survey, list[HostEvent]]:
    events: list[HostEvent] = []
    with Interrupts() as interrupts:
        return Look(Access(("unused",)), interrupts, events.append, **settings).at(hosts), events


def test_a_look_is_one_command_and_tells_what_a_task_would(tmp_path: Path) -> None:
    with probed(tmp_path) as (gw1, server):
        seen, events = looked([gw1])
        assert len(server.ran) == 1
    assert seen.problems == ()
    document = seen.documents["gw1"]
    assert document["host"] == "gw1"
    assert document["sources"]["python"]["text"].endswith(sys.executable)
    assert [(event.host, event.kind, event.role) for event in events] == [
        ("gw1", "start", "probe"), ("gw1", "ok", "probe"),
    ]  # fmt: skip


def test_where_it_is_installed_elsewhere_it_looks_there(tmp_path: Path) -> None:
    elsewhere = {"phi4_root": "/data/phi4", "phi4_state": "/data/state"}
    with probed(tmp_path) as (gw1, _):
        document = looked([replace(gw1, vars=elsewhere)])[0].documents["gw1"]
    assert document["layout"] == {"root": "/data/phi4", "state": "/data/state"}
    assert "/data/phi4 " in document["sources"]["disk"]["text"]


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_answer_of_ours_is_one_problem(tmp_path: Path, lie: str) -> None:
    text, words = LIES[lie]

    def answer(command: str, stdin: str) -> tuple[int, str]:
        nonce = re.search(r" ([0-9a-f]{16}) \d+'?$", command)
        return (0, text.replace("{n}", nonce[1])) if nonce else healthy(command, stdin)

    with serving(answer) as (port, _):
        seen, events = looked([host(tmp_path, port)])
    assert seen.documents == {}
    problem = seen.problems[0]
    assert problem.outcome == "preflight"
    assert re.search(words, problem.reason), problem.reason
    assert problem.next_step
    assert [event.kind for event in events] == ["start", "failed"]


def test_what_comes_next_is_done_while_the_session_is_open(tmp_path: Path) -> None:
    alive: list[bool] = []

    def then(guest: Guest, document: Any) -> None:
        session = guest.get("gw1")
        alive.append(session is not None and session.is_active() and document["host"] == "gw1")

    with probed(tmp_path) as (gw1, _):
        looked([gw1], then=then, then_seconds=1.0)
    assert alive == [True]


def test_a_host_that_never_answers_is_given_up_and_no_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "SECONDS", 6.0)

    def answer(command: str, stdin: str) -> tuple[int, str]:
        return (0, "nothing\n" * 2_000_000)

    (tmp_path / "flood").mkdir()
    with probed(tmp_path) as (gw1, _), serving(answer) as (port, _):
        flood = replace(host(tmp_path / "flood", port), name="gw2")
        seen, _ = looked([flood, gw1])
    assert set(seen.documents) == {"gw1"}
    assert [problem.host for problem in seen.problems] == ["gw2"]
    assert "found more than" in seen.problems[0].reason
