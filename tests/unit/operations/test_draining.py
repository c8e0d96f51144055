"""A gateway behind a balancer is out while its engine is replaced, and in again whatever became of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.errors import RunnerError
from phi4_edge.operations.draining import Draining, stopped
from phi4_edge.operations.plan import Planner, Seen
from phi4_edge.runner.events import HostOutcome
from phi4_edge.runner.executor import Call, OnEvent
from phi4_edge.runner.run import RunResult

FIXTURE = Path(__file__).parents[2] / "fixtures" / "hosts" / "n150-8gb.json"
PROVISION = Call("provision", {"lock_id": "run-1"})


class Log:
    """Stand-in for Ansible and for balancers: what was asked for, in order; `answers` by what is asked."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.answers = answers

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        what = str(call.extra_vars.get("balancer_do", call.playbook))
        about = (str(call.extra_vars["balancer_gateway"]),) if "balancer_gateway" in call.extra_vars else ()
        self.asked.append((what, *about, *hosts))
        answer = self.answers.get(what, "ok")
        if isinstance(answer, Exception):
            raise answer
        return RunResult({host: HostOutcome(host, answer, "why") for host in hosts}, False, 0)


def plan(mode: str = "down", **variables: Any) -> Any:
    made = Planner({}).decide(Seen("gw1", json.loads(FIXTURE.read_text()), {"phi4_gateway": True, **variables})).plan
    return dataclasses.replace(made, switch=dataclasses.replace(made.switch, mode=mode))


def run(log: Log, call: Call = PROVISION, cut: bool = False, **plans: Any) -> list[str]:
    """What was said, of a run over the hosts of these plans, of which lb1 has gw1 and gw2, and lb2 gw1."""
    said: list[str] = []
    behind = {"lb1": frozenset({"gw1", "gw2"}), "lb2": frozenset({"gw1"})}
    made = Draining(log, log, behind, "provision", stopped(plans), said.append)
    made.execute(call, list(plans), lambda _event: None, lambda: cut)
    return said


def test_each_is_out_before_it_is_changed_and_in_afterwards() -> None:
    log = Log()
    assert run(log, gw1=plan(), gw2=plan("beside")) == []
    assert log.asked == [
        ("drain", "gw1", "lb1", "lb2"), ("drain", "gw2", "lb1"), ("provision", "gw1", "gw2"),
        ("ready", "gw1", "lb1", "lb2"), ("ready", "gw2", "lb1"),
    ]  # fmt: skip


@pytest.mark.parametrize("others", [
    {"gw1": plan("none")}, {"gw1": plan("first")}, {"gw1": plan(phi4_gateway=False)}, {"gw9": plan()},
])  # fmt: skip
def test_who_is_not_interrupted_or_not_behind_one_stays(others: dict[str, Any]) -> None:
    log = Log()
    assert run(log, **others) == []
    assert log.asked == [("provision", *others)]


@pytest.mark.parametrize("call", [Call("provision", check=True), Call("bake"), Call("bench")])
def test_nothing_is_drained_for_what_changes_nothing(call: Call) -> None:
    log = Log()
    run(log, call, gw1=plan())
    assert log.asked == [(call.playbook, "gw1")]


@pytest.mark.parametrize("failing", ["unreachable", "failed", RunnerError("Ansible is not there")])
def test_a_balancer_that_cannot_be_told_keeps_nobody_from_being_changed(failing: Any) -> None:
    log = Log(drain=failing)
    (said,) = run(log, gw2=plan())
    assert said.startswith("gw2: lb1 could not be told to give it no more requests (")
    assert log.asked == [("drain", "gw2", "lb1"), ("provision", "gw2")], "what was not drained is not put back"


def test_one_that_does_not_take_it_back_is_told_with_what_to_do() -> None:
    (said,) = run(Log(ready="failed"), gw2=plan())
    assert "give it requests again (why); afterwards run: phi4-edge balance INVENTORY --ready gw2" in said


def test_a_rollback_drains_those_that_it_brings_back_and_nobody_for_another_play() -> None:
    log = Log()
    made = Draining(log, log, {"lb1": frozenset({"gw1", "gw2"})}, "rollback", {"gw1": "a release"}, log.asked.append)
    for playbook in ("rollback", "bake", "provision"):
        made.execute(Call(playbook), ["gw1", "gw2"], lambda _event: None, lambda: False)
    assert log.asked == [
        ("drain", "gw1", "lb1"), ("rollback", "gw1", "gw2"), ("ready", "gw1", "lb1"), ("bake", "gw1", "gw2"),
        ("provision", "gw1", "gw2"),
    ]  # fmt: skip


def test_a_run_that_fails_puts_them_back() -> None:
    log = Log(provision=RunnerError("no"))
    with pytest.raises(RunnerError):
        run(log, gw2=plan())
    assert log.asked[-1] == ("ready", "gw2", "lb1")


def test_after_ctrl_c_nobody_is_drained() -> None:
    log = Log()
    run(log, cut=True, gw2=plan())
    assert log.asked == [("provision", "gw2")]
