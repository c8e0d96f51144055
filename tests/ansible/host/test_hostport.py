"""What stands before a start in containers: a port that Docker holds for nobody is told from all others, and freed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.ansible.docker_machine import ANY, DAEMON, ELSEWHERE, LOOPBACK, OTHER, OURS, OWNER, PROXY, Machine, a_machine
from tests.ansible.plays import ROOT


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, without its pauses."""
    spec = importlib.util.spec_from_file_location("phi4_port", ROOT / "cli/phi4_edge/remote/host/hostport.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setattr(module, "RESTART_SECONDS", 0)
    return module


def run(script: ModuleType, machine: Machine, bind: str = "127.0.0.1") -> int:
    status: int = script.main([bind, "8080", str(machine.root)])
    return status


def nobody(machine: Machine) -> None:
    machine.listens(ELSEWHERE)
    machine.process(PROXY, "docker-proxy", 900)


def another_program(machine: Machine) -> None:
    machine.listens(LOOPBACK)
    machine.process(PROXY, "docker-proxy", 555)
    machine.process("78", "nginx", 900)


def a_container(machine: Machine) -> None:
    machine.orphan()
    machine.containers(OTHER, OWNER)


@pytest.mark.parametrize("state", [lambda machine: None, nobody, another_program, a_container])
def test_a_port_that_is_free_or_somebodys_is_left_alone(
    script: ModuleType, machine: Machine, state: Any, capfd: Any
) -> None:
    state(machine)
    assert (run(script, machine), machine.restarts) == (0, 0)
    assert capfd.readouterr().err == ""


def test_a_program_of_another_user_is_not_docker(
    script: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.orphan()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert (run(script, machine), machine.restarts) == (0, 0)


def test_a_port_that_is_let_go_meanwhile_is_free(
    script: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.orphan()
    monkeypatch.setattr(script.time, "sleep", lambda _seconds: machine.listens())
    assert (run(script, machine), machine.restarts) == (0, 0)


@pytest.mark.parametrize(
    ("bind", "listens", "table", "holder"),
    [
        ("127.0.0.1", LOOPBACK, "tcp", "docker-proxy"),
        ("127.0.0.1", ANY, "tcp", "docker-proxy"),
        ("0.0.0.0", ELSEWHERE, "tcp", "docker-proxy"),
        ("::1", "00000000000000000000000001000000", "tcp6", "docker-proxy"),
        ("127.0.0.1", LOOPBACK, "tcp", "dockerd"),
    ],
)
def test_what_docker_holds_for_no_container_is_freed(
    script: ModuleType, machine: Machine, capfd: Any, bind: str, listens: str, table: str, holder: str
) -> None:
    machine.listens(listens, table=table)
    machine.process(PROXY, holder, 900)
    machine.containers(OURS)
    assert (run(script, machine, bind), machine.restarts) == (1, 1)
    assert "restarting Docker, which frees it and stops nothing of others" in capfd.readouterr().err
    mark = machine.root / "run/phi4-edge-docker-restarted"
    assert (mark.read_text(), mark.stat().st_mode & 0o777) == (DAEMON, 0o600)


def test_docker_is_restarted_once_per_boot(script: ModuleType, machine: Machine, capfd: Any) -> None:
    machine.orphan()
    assert run(script, machine) == 1
    capfd.readouterr()
    # The page's unit finds the same, and its restart is the same one.
    assert (run(script, machine), machine.restarts, capfd.readouterr().err) == (1, 1, "")
    (machine.root / "process").write_text("51\n")
    assert (run(script, machine), machine.restarts) == (1, 1)
    assert "Docker was restarted for that since the host came up: see journalctl -u docker" in capfd.readouterr().err


def test_what_others_run_is_not_stopped(script: ModuleType, machine: Machine, capfd: Any) -> None:
    machine.orphan()
    machine.containers(OURS, OTHER)
    assert (run(script, machine), machine.restarts) == (1, 0)
    said = capfd.readouterr().err
    assert "127.0.0.1:8080 for no container" in said
    assert "would stop broker, so do that when it suits: systemctl restart docker" in said
    assert not (machine.root / "run/phi4-edge-docker-restarted").exists()


def test_where_containers_outlive_docker_it_is_restarted(script: ModuleType, machine: Machine) -> None:
    machine.orphan()
    machine.containers(OTHER)
    machine.server.answers["/info"] = {"LiveRestoreEnabled": True}
    assert (run(script, machine), machine.restarts) == (1, 1)


def test_a_unit_that_systemd_restarts_with_docker_is_somebody_elses(
    script: ModuleType, machine: Machine, capfd: Any
) -> None:
    machine.orphan()
    machine.server.answers["/info"] = {"LiveRestoreEnabled": True}
    (machine.root / "bound").write_text("meter.service\n")
    assert (run(script, machine), machine.restarts) == (1, 0)
    assert "would stop meter.service" in capfd.readouterr().err


def test_names_of_others_are_bounded_and_printable(script: ModuleType, machine: Machine, capfd: Any) -> None:
    machine.orphan()
    machine.containers(*[{"Names": [f"/\x1b[2J{number}{'x' * 500}"]} for number in range(9)])
    assert (run(script, machine), machine.restarts) == (1, 0)
    said = capfd.readouterr().err
    assert said.strip().isprintable() and len(said) < 700 and "and 4 more" in said


@pytest.mark.parametrize("answer", ["", "{", "null", "7", "[7]", '[{"Ports": 7}]', '{"message": "no"}'])
def test_an_answer_that_is_none_stops_no_start(script: ModuleType, machine: Machine, capfd: Any, answer: str) -> None:
    machine.orphan()
    machine.server.answers["/containers/json"] = answer
    assert (run(script, machine), machine.restarts) == (0, 0)
    assert "whether Docker holds port 8080 for no container is not known" in capfd.readouterr().err


def test_without_docker_nothing_is_known_and_the_start_goes_on(
    script: ModuleType, machine: Machine, capfd: Any
) -> None:
    machine.orphan()
    (machine.root / "run/docker.sock").unlink()
    assert (run(script, machine), machine.restarts) == (0, 0)
    assert "is not known" in capfd.readouterr().err


def test_the_oldest_python_of_a_host_can_read_it() -> None:
    import ast

    ast.parse((ROOT / "cli/phi4_edge/remote/host/hostport.py").read_text(), feature_version=(3, 8))
