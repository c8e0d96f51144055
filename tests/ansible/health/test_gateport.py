"""Whose the listening socket is: the kernel's word, not a process's name, nor a control group that a user can make."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, gateport, load

gate, gatedocker = load("health", "gate"), load("health", "gatedocker")
UNIT, ID = "phi4-edge.service", "a" * 64
USERS = "/user.slice/user-1001.slice/user@1001.service/app.slice"


@pytest.mark.parametrize(
    ("groups", "group", "ours"),
    [
        (f"0::/system.slice/{UNIT}\n", UNIT, True),
        (f"0::/system.slice/{UNIT}/inner\n", UNIT, True),
        (f"12:memory:/system.slice/{UNIT}\n1:name=systemd:/system.slice/{UNIT}\n0::/\n", UNIT, True),
        (f"0::{USERS}/{UNIT}\n", UNIT, False),
        (f"0::{USERS}/docker-{ID}.scope\n", ID, False),
        (f"0::/user.slice/user-1001.slice/session-3.scope/{UNIT}\n", UNIT, False),
        (f"0::/system.slice/x{UNIT}\n", UNIT, False),
        (f"0::/system.slice/{UNIT}.d\n", UNIT, False),
        (f"0::/system.slice/docker-{ID}.scope\n", ID, True),
        (f"0::/docker/{ID}\n", ID, True),
        ("0::/docker/aaaa\n", ID, False),
        ("", UNIT, False),
        ("nonsense\n:::\n", UNIT, False),
    ],
)
def test_a_group_of_a_users_own_is_not_ours_whatever_its_name(groups: str, group: str, ours: bool) -> None:
    assert gateport.belongs(groups, group) is ours


def test_where_systemd_itself_runs_inside_a_users_slice_its_groups_are_seen_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container of a user without rights, in which systemd is the first process."""
    top = f"{USERS}/lxc/init.scope"
    monkeypatch.setattr(gateport, "open", lambda path: Text(f"0::{top}\n"), raising=False)
    assert gateport.belongs(f"0::{USERS}/lxc/system.slice/{UNIT}\n", UNIT)
    assert not gateport.belongs(f"0::{USERS}/lxc/user.slice/{UNIT}\n", UNIT)


class Text:
    """An open file with this text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> Text:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"ActiveState": "active", "Listen": "127.0.0.1:8080 (Stream)"}, False),
        ({"ActiveState": "active", "Listen": "[::1]:8080 (Stream)"}, False),
        ({"ActiveState": "active", "Listen": "127.0.0.1:18080 (Stream)"}, True),
        ({"ActiveState": "active", "Listen": "127.0.0.1:8080 (Datagram)"}, True),
        ({"ActiveState": "failed", "Listen": "127.0.0.1:8080 (Stream)"}, True),
        ({}, True),
    ],
)
def test_systemd_is_a_stranger_unless_it_listens_for_us(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, str], named: bool
) -> None:
    monkeypatch.setattr(gateport, "shown", lambda unit, properties: state)
    monkeypatch.setattr(gateport, "listeners", lambda port: {"1": "127.0.0.1"})
    monkeypatch.setattr(gateport, "holders", lambda inodes: [("1", "1", "systemd", "0::/init.scope\n")])
    assert (gateport.stranger(8080, UNIT) == "systemd (process 1 of user root)") is named


def test_a_user_who_has_the_port_is_named_whatever_his_process_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateport, "listeners", lambda port: {"1": "127.0.0.1"})
    monkeypatch.setattr(gateport, "holders", lambda inodes: [("1", "7", "docker-proxy", f"0::{USERS}/{UNIT}\n")])
    monkeypatch.setattr(gateport, "owner", lambda process: "user mallory")
    monkeypatch.setattr(gateport.os, "stat", lambda path: type("Stat", (), {"st_uid": 1001})())
    assert gateport.stranger(8080, UNIT) == "docker-proxy (process 7 of user mallory)"
    asked: dict[str, Any] = {"address": "127.0.0.1", "port": 8080, "release": ONE, "releases": "/none", "project": "p"}
    who = "docker-proxy (process 7 of user mallory)"
    monkeypatch.setattr(gatedocker, "unprivileged", gateport.unprivileged)
    monkeypatch.setattr(gatedocker, "label", lambda container, name: ONE)
    monkeypatch.setattr(gatedocker.hostdocker, "named", lambda release: {"engine": "sha256:1"})
    ports = {"8000/tcp": [{"HostPort": "8080"}]}
    found = {"Image": "sha256:1", "NetworkSettings": {"Ports": ports}}
    monkeypatch.setattr(gatedocker, "engine", lambda args: found)
    with pytest.raises(gatedocker.StepError, match=r"what answers on port 8080 is docker-proxy .* of user mallory"):
        gatedocker.planned(asked)
    assert gatedocker.stranger(asked, who) == who


def test_an_address_of_another_host_is_not_ours() -> None:
    assert gateport.ours("127.0.0.1")
    assert gateport.ours("127.9.9.9")
    assert not gateport.ours("192.0.2.77")
    assert not gateport.ours("2001:db8::77") or not socket.has_ipv6


def test_what_is_started_over_by_its_socket_counts_as_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd counts its own restarts only; a client may have the service begin again and again."""
    said = iter([{"ActiveState": "activating", "NRestarts": "0", "InvocationID": str(n // 3)} for n in range(30)])
    monkeypatch.setattr(gate, "shown", lambda unit, properties: next(said))
    monkeypatch.setattr(gate.Pauses, "rest", lambda _pauses: None)
    with pytest.raises(gate.StepError, match="does not stay up: activating after 2 restarts"):
        gate.running({"unit": UNIT, "compose": False}, gate.time.monotonic() + 60)


def test_the_owner_of_a_process_is_told_by_name_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateport.owner(str(os.getpid())).startswith("user ")
    assert gateport.owner("999999999") == "a user that is gone"
    monkeypatch.setattr(gateport.os, "stat", lambda path: type("Stat", (), {"st_uid": 4_000_000_000})())
    assert gateport.owner("1") == "user 4000000000"
