"""Whether a user of the host reaches an engine: tried at real sockets, and what is done where it is open."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostunit, load

import hostfront  # isort: skip
import hostguard  # isort: skip

credentials = load("probe", "credentials")
GUARD = "phi4-edge-guard.service"
PLAN: dict[str, Any] = {"bind": "127.0.0.1", "port": 8080, "gateway": {"port": 8443}}


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        yield server.getsockname()[:2]


def test_a_port_that_takes_connections_is_open_and_whoever_tries_is_not_root(listening: tuple[str, int]) -> None:
    assert hostguard.is_open(listening)
    assert os.geteuid() == os.getuid(), "this process is who it was"


def test_one_that_takes_none_is_not(listening: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    assert not hostguard.is_open(("127.0.0.1", closed))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_it_is_tried_by_a_user_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()  # a user without rights may write no file of a test

    def connected(_where: object) -> bool:
        os.write(writing, f"{os.getresuid()} {os.getresgid()} {os.getgroups()}".encode())
        return True

    monkeypatch.setattr(hostguard, "connected", connected)
    assert hostguard.is_open(("127.0.0.1", 1))
    nobody = (65534,) * 3
    assert os.read(reading, 1000).decode() == f"{nobody} {nobody} []"
    os.close(reading)
    os.close(writing)


def test_only_an_engine_behind_a_gateway_has_a_place() -> None:
    assert hostguard.place(PLAN) == ("127.0.0.1", 8080)
    assert hostguard.place({**PLAN, "gateway": None}) is None
    assert hostguard.place({}) is None
    with pytest.raises(ValueError, match="invalid literal"):
        hostguard.place({**PLAN, "port": "x"})


class Systemd:
    """Stand-in for systemctl: how the guard stands, and what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: str, status: int = 0, is_open: bool = False) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.status = status
        monkeypatch.setattr(hostfront, "active", lambda _unit: state == "active")
        monkeypatch.setattr(hostfront, "command", self.command)
        monkeypatch.setattr(hostguard, "is_open", lambda _where: is_open)

    def command(self, *words: str) -> tuple[int, str]:
        self.asked.append(words)
        return self.status, ""


LOADED = [("systemctl", "reset-failed", GUARD), ("systemctl", "reload-or-restart", GUARD)]
FILE = f"{hostunit.FOLDER}/{GUARD}"


@pytest.mark.parametrize(
    ("state", "is_open", "changes", "status", "asked", "said"),
    [
        ("active", False, [], 0, [], []),
        ("active", True, [], 0, LOADED, [f"started {GUARD}"]),
        ("inactive", False, [], 0, LOADED, [f"started {GUARD}"]),
        ("active", False, [FILE], 0, LOADED, []),
        ("inactive", False, [FILE], 0, LOADED, []),
        # The kernel cannot: it is tried again, and no change is told that there was not.
        ("failed", False, [], 1, LOADED, []),
        ("failed", False, [FILE], 1, LOADED, []),
    ],
)
def test_rules_are_loaded_where_they_are_new_or_without_effect(
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    is_open: bool,
    changes: list[str],
    status: int,
    asked: list[tuple[str, ...]],
    said: list[str],
) -> None:
    systemd = Systemd(monkeypatch, state, status, is_open)
    assert hostfront.guard({GUARD: b""}, changes, ("127.0.0.1", 8080)) == said
    assert systemd.asked == asked


def test_a_release_without_one_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(monkeypatch, "inactive", is_open=True)
    assert hostfront.guard({"phi4-edge.service": b""}, [], None) == []
    assert systemd.asked == []


def test_it_is_up_before_the_engine_and_down_after_it() -> None:
    assert hostunit.UNITS.index(GUARD) < hostunit.UNITS.index(hostunit.SOCKET) < hostunit.UNITS.index(hostunit.MAIN)
    assert hostunit.STOPPING[-1] == GUARD
    assert set(hostunit.STOPPING) == set(hostunit.UNITS)


@pytest.mark.parametrize(
    ("plan", "runs", "said"),
    [(PLAN, True, "open"), (PLAN, False, "no engine runs"), ({**PLAN, "gateway": None}, True, "no gateway")],
)
def test_the_look_says_whether_it_is_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: dict[str, Any], runs: bool, said: str
) -> None:
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "group" / "system.slice" / "phi4-edge.service").mkdir(parents=True)
    monkeypatch.setattr(credentials, "GROUPS", (str(tmp_path / "group"),) if runs else ())
    monkeypatch.setattr(hostguard, "is_open", lambda where: where == ("127.0.0.1", 8080))
    try:
        assert credentials.guarded(str(tmp_path), "") == said
    except credentials.Gap as gap:
        assert gap.args == ("missing", said)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"gateway": 1}', '{"gateway": {}, "bind": "::1", "port": "x"}'])
def test_a_plan_that_is_none_of_ours_is_a_gap(tmp_path: Path, text: str) -> None:
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "plan.json").write_text(text)
    with pytest.raises((credentials.Gap, LookupError, ValueError)):
        credentials.guarded(str(tmp_path), "")
