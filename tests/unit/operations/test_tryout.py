"""Engines are tried one after the other, and whatever happens on the way, what served before comes back or is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.speed import Measured
from phi4_edge.data import schema
from phi4_edge.errors import RunnerError
from phi4_edge.inventory import Host
from phi4_edge.operations import benched, tryout
from phi4_edge.operations.benched import Benched
from phi4_edge.operations.candidates import Candidate, LeftOut, asked
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.tryout import Trying, Tryout
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.access import Access
from tests.unit.operations.test_bench import WISH
from tests.unit.operations.test_bench_fleet import View

ONNX = Candidate("onnx", "int4", "cpu", 4, served=True)
OLLAMA8 = Candidate("ollama", "q8_0", "cpu", 8, down_seconds=30)
OLLAMA4 = Candidate("ollama", "q4_K_M", "cpu", 4, down_seconds=10)
SPEEDS = {"onnx int4": 10.0, "ollama q8_0": 6.0, "ollama q4_K_M": 12.0}
BEFORE = "r-aaaaaaaaaaaa"


class World:
    """Stands for hosts and Ansible: what each host serves, and what was done, in order. `at` names who misbehaves."""

    def __init__(self, *names: str) -> None:
        self.serves = dict.fromkeys(names, BEFORE)
        self.done: list[str] = []
        self.provision: dict[str, Any] = {}
        self.measuring: dict[str, Any] = {}
        self.back: list[Any] = []
        self.cut = False
        self.gone: set[str] = set()


class Rolling:
    """Stands for a rollout of one step: brings hosts back, or does what the world has in store for that."""

    world: World

    def __init__(self, fleet: Fleet, _waving: object, operation: str, limit: str, options: Mapping[str, Any]) -> None:
        assert (operation, limit) == ("bench", ",".join(host.name for host in fleet.hosts))
        self.fleet, self.options, self.interrupted = fleet, options, False

    def begin(self, _plans: object) -> None:
        return None

    def waves(self, kinds: Mapping[str, str]) -> list[str]:
        return list(kinds)

    def drive(self, waves: Sequence[str], _before: object, play: Any, _serves: object, _view: object) -> dict[str, Any]:
        assert play.playbook == "rollback" and play.through and play.extra_vars["receipt_forget_previous"] is True
        world = self.world
        ends = world.back.pop(0) if world.back else Outcome.DONE
        if isinstance(ends, BaseException):
            raise ends
        for host in waves:
            world.done.append(f"{host} back")
            if ends is Outcome.DONE:
                world.serves[host] = play.extra_vars["service_rollback_to"][host]
        return {host: HostResult(host, ends, "" if ends is Outcome.DONE else "it is gone") for host in waves}

    def close(self, _results: object, _note: object) -> dict[str, Any]:
        return {}


class Provisioning:
    """Stands for provision: hosts serve the candidate afterwards, or end as the world has it."""

    def __init__(self, fleet: Fleet, _store: object, rolling: Rolling) -> None:
        self.fleet, self.rolling, self.world = fleet, rolling, rolling.world
        self.unready: dict[str, HostResult] = {}
        self.todo = {host.name: None for host in fleet.hosts}
        self.name = f"{fleet.settings['phi4_engine']} {fleet.settings['phi4_quantization']}"
        told = json.loads(fleet.access.extra_vars[-1])
        assert f"{told['phi4_engine']} {told['phi4_quantization']}" == self.name, "the play plans as the look does"

    def look(self, _view: object) -> None:
        class Found:
            def __init__(self, release: str) -> None:
                self.facts = type("Facts", (), {"receipt": Receipt(True, release=release)})

        self.planned = {host: Found(self.world.serves[host]) for host in self.todo}
        self.todo = {host: None for host in self.todo if host not in self.world.gone}

    def finish(self, _view: object) -> list[HostResult]:
        gone = (HostResult(host, Outcome.UNREACHABLE, "it is gone") for host in self.world.gone)
        results = [*self.unready.values(), *gone]
        for host in self.todo:
            if host in self.unready:
                continue
            end = self.world.provision.get(f"{host} {self.name}", Outcome.DONE)
            if isinstance(end, BaseException):
                raise end
            if end in (Outcome.DONE, Outcome.FAILED):
                self.world.serves[host] = self.name
            self.world.done.append(f"{host} {self.name} {end}")
            reason = "" if end is Outcome.DONE else "the gate did not pass (the host is back on it)"
            results.append(HostResult(host, end, reason, seconds=42.0))
        self.rolling.interrupted = self.world.cut
        return results


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World("gw1", "gw2")
    Rolling.world = found

    def bench(fleet: Fleet, _wish: object, _at: int, _view: object) -> tuple[list[Benched], list[HostResult]]:
        name = f"{fleet.settings['phi4_engine']} {fleet.settings['phi4_quantization']}"
        assert not fleet.access.extra_vars, "what serves is named by its host, and no play hears of it"
        engine, quantization = name.split()
        measured, problems = [], []
        for host in (host.name for host in fleet.hosts):
            assert found.serves[host] == (BEFORE if name == "onnx int4" else name), "what is measured serves"
            end = found.measuring.get(f"{host} {name}")
            if isinstance(end, BaseException):
                raise end
            if isinstance(end, signal.Signals):
                end = os.kill(os.getpid(), end)
            found.done.append(f"{host} {name} measured")
            if end is not None:
                problems.append(HostResult(host, end, "it is gone"))
                continue
            figures = Measured("tiny", engine, quantization, "cpu", 4, 4096, 1, "r-1", 5, SPEEDS[name])
            result = HostResult(host, Outcome.DONE)
            measured.append(Benched(host, engine, quantization, "r-1", result, figures, tool_calls=(1, 2)))
        return measured, problems

    monkeypatch.setattr(tryout, "Rolling", Rolling)
    monkeypatch.setattr(tryout, "Provisioning", Provisioning)
    monkeypatch.setattr(tryout, "Store", lambda: None)
    monkeypatch.setattr(tryout.bench, "bench", bench)
    monkeypatch.setattr(Fleet, "view", lambda *_: contextlib.nullcontext(View()))
    return found


def trial(*candidates: Candidate, hosts: Sequence[str] = ("gw1",), release: str = BEFORE) -> Tryout:
    fleet = Fleet(tuple(Host(name, "192.0.2.1") for name in hosts), Access(("site/gateways.ini",)), {})
    serves = Receipt(True, engine="onnx", quantization="int4", release=release, port=8080)
    left = (LeftOut("vllm", "", "no GPU"),)
    return Tryout(fleet, WISH, asked("all"), 4, {name: Trying(serves, candidates, left) for name in hosts})


def made(found: Tryout) -> dict[str, Any]:
    """The document, which is as its schema says."""
    whole = benched.document(
        found.in_order(), found.problems, WISH, found.entries(), found.back.values(), found.interrupted
    )
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    registry: Any = Registry().with_resources([("result.schema.json", Resource.from_contents(schema("result")))])
    jsonschema.Draft202012Validator(schema("bench"), registry=registry).validate(plain)
    return plain


def test_what_serves_is_measured_where_it_is_and_comes_back_after_each_other(world: World) -> None:
    found = trial(ONNX, OLLAMA8, OLLAMA4)
    found.run()
    assert world.done == [
        "gw1 onnx int4 measured",
        *("gw1 ollama q8_0 done", "gw1 ollama q8_0 measured", "gw1 back"),
        *("gw1 ollama q4_K_M done", "gw1 ollama q4_K_M measured", "gw1 back"),
    ]
    assert world.serves["gw1"] == BEFORE
    whole = made(found)
    assert whole["exit_code"] == 0
    assert [one["trial"]["setup_seconds"] for one in whole["hosts"]] == [None, 42.0, 42.0]
    assert whole["hosts"][0]["trial"]["tool_calls"] == {"well_formed": 1, "asked": 2}
    (entry,) = whole["tried"]
    assert (entry["fastest"]["quantization"], entry["fastest"]["decode"]) == ("q4_K_M", 12.0)
    assert [(row["bits"], row["quantization"]) for row in entry["fastest_by_bits"]] == [(8, "q8_0"), (4, "q4_K_M")]
    assert entry["served"]["release"] == BEFORE and entry["back"]["outcome"] == "done"
    assert entry["left_out"] == [{"engine": "vllm", "quantization": "", "reason": "no GPU"}]


def test_one_that_fails_its_gate_is_told_and_the_next_is_tried(world: World) -> None:
    world.provision["gw1 ollama q8_0"] = Outcome.ROLLED_BACK
    found = trial(OLLAMA8, OLLAMA4)
    found.run()
    # Its play has brought the host back, so nothing else does.
    assert world.done == [
        "gw1 ollama q8_0 rolled_back", "gw1 ollama q4_K_M done", "gw1 ollama q4_K_M measured", "gw1 back",
    ]  # fmt: skip
    whole = made(found)
    assert whole["exit_code"] == 4
    assert [one["outcome"] for one in whole["hosts"]] == ["rolled_back", "done"]
    assert "did not pass" in whole["hosts"][0]["reason"]


def test_one_that_failed_without_coming_back_is_brought_back(world: World) -> None:
    world.provision["gw1 ollama q8_0"] = Outcome.FAILED
    found = trial(OLLAMA8)
    found.run()
    assert world.done == ["gw1 ollama q8_0 failed", "gw1 back"] and world.serves["gw1"] == BEFORE


def test_ctrl_c_while_it_is_measured_brings_back_what_served(world: World) -> None:
    world.measuring["gw1 ollama q8_0"] = KeyboardInterrupt()
    found = trial(OLLAMA8, OLLAMA4)
    found.run()
    assert world.done == ["gw1 ollama q8_0 done", "gw1 back"]
    assert world.serves["gw1"] == BEFORE and made(found)["exit_code"] == 130


def test_ctrl_c_while_it_is_provisioned_measures_nothing_more(world: World) -> None:
    world.cut = True
    found = trial(OLLAMA8, OLLAMA4)
    found.run()
    assert world.done == ["gw1 ollama q8_0 done", "gw1 back"] and found.interrupted


@pytest.mark.parametrize("cut", [KeyboardInterrupt(), Outcome.INTERRUPTED])
def test_a_second_ctrl_c_says_how_what_served_comes_back(world: World, cut: Any) -> None:
    world.measuring["gw1 ollama q8_0"], world.back = KeyboardInterrupt(), [cut]
    found = trial(OLLAMA8)
    found.run()
    whole = made(found)
    assert whole["exit_code"] == 130 and whole["tried"][0]["back"]["outcome"] == "interrupted"
    wanted = f"phi4-edge rollback site/gateways.ini --limit gw1 --to {BEFORE}"
    assert whole["tried"][0]["back"]["next_step"].endswith(wanted)


@pytest.mark.parametrize(("end", "code"), [(Outcome.UNREACHABLE, 5), (RunnerError("Ansible is gone"), 4)])
def test_a_host_that_does_not_come_back_is_told_and_left_alone(world: World, end: Any, code: int) -> None:
    world.measuring["gw2 ollama q8_0"], world.back = Outcome.UNREACHABLE, [end]
    found = trial(OLLAMA8, OLLAMA4, hosts=("gw2",))
    found.run()
    assert not [line for line in world.done if "q4_K_M" in line]
    assert [one.result.outcome for one in found.benched] == [Outcome.UNREACHABLE]
    whole = made(found)
    assert whole["exit_code"] == code and "--limit gw2" in whole["tried"][0]["back"]["next_step"]


def test_a_host_that_is_gone_before_anything_was_changed_is_not_said_to_be_left(world: World) -> None:
    world.gone = {"gw1"}
    found = trial(OLLAMA8)
    found.run()
    whole = made(found)
    assert world.done == [] and whole["exit_code"] == 5 and whole["tried"][0]["back"] is None


@pytest.fixture
def hung_up_on() -> Iterator[None]:
    """A terminal that goes away ends this process, also where the tests were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hung_up_on")
def test_a_terminal_that_goes_away_ends_nothing(world: World) -> None:
    world.measuring["gw1 ollama q8_0"] = signal.SIGHUP
    found = trial(OLLAMA8)
    found.run()
    assert world.done == ["gw1 ollama q8_0 done", "gw1 ollama q8_0 measured", "gw1 back"]
    assert not found.interrupted and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_hosts_are_for_themselves(world: World) -> None:
    world.provision["gw1 ollama q8_0"] = Outcome.ROLLED_BACK
    found = trial(ONNX, OLLAMA8, hosts=("gw1", "gw2"))
    found.run()
    assert [(one.host, one.engine, str(one.result.outcome)) for one in found.in_order()] == [
        ("gw1", "onnx", "done"), ("gw1", "ollama", "rolled_back"), ("gw2", "onnx", "done"), ("gw2", "ollama", "done"),
    ]  # fmt: skip
    assert set(world.serves.values()) == {BEFORE} and set(found.back) == {"gw2"}


@pytest.mark.parametrize("step", ["provision", "measuring"])
def test_where_ansible_cannot_run_that_is_told_and_hosts_are_brought_back(world: World, step: str) -> None:
    getattr(world, step)["gw1 ollama q8_0"] = RunnerError("ansible-playbook is gone")
    found = trial(OLLAMA8)
    found.run()
    assert world.done[-1] == "gw1 back" and world.serves["gw1"] == BEFORE
    (one,) = made(found)["hosts"]
    assert (one["outcome"], one["reason"]) == ("failed", "ansible-playbook is gone")


def test_a_host_that_another_run_has_changed_meanwhile_is_left_alone(world: World) -> None:
    world.serves["gw1"] = "r-cccccccccccc"
    found = trial(OLLAMA8)
    found.run()
    assert world.done == [] and world.serves["gw1"] == "r-cccccccccccc"
    (one,) = made(found)["hosts"]
    assert one["outcome"] == "preflight" and "r-cccccccccccc" in one["reason"]
