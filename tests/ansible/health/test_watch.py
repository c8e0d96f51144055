"""The watch of a service that passed the gate: real processes that go wrong, systemd's and Docker's words made up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, TWO, hostlib, load
from tests.ansible.plays import ROOT

watch = load("health", "watch")
gate = sys.modules["gate"]
STANDIN = ROOT / "tests" / "standins" / "standin_engine.py"
MODEL = "phi-4-mini-instruct"


class Service:
    """A stand-in of the engine, and what systemd would say of it."""

    def __init__(self, folder: Path, wrong: dict[str, float]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "wrong.json").write_text(json.dumps(wrong))
        self.quiet = threading.RLock()  # held while nobody may look
        self.state = {"ActiveState": "active", "NRestarts": "0", "InvocationID": "a"}
        self.environment = {
            "PHI4_BIND": "127.0.0.1", "PHI4_PORT": str(self.port), "PHI4_MODEL_NAME": MODEL, "PHI4_RELEASE": ONE,
            "STANDIN_ENGINE": str(folder / "wrong.json"), "PATH": os.environ["PATH"],
        }  # fmt: skip
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, STANDIN], env=self.environment)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.02)
        raise AssertionError("the stand-in does not listen")

    def now(self, _args: dict[str, Any]) -> dict[str, str]:
        """What `systemctl show` would print; one that ended waits for its restart."""
        with self.quiet:
            if self.process.poll() is None:
                return dict(self.state, MainPID=str(self.process.pid))
            return dict(self.state, ActiveState="activating", MainPID="0")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """Starts the stand-in; the watch polls ten times as often and finds no journal."""
    started: list[Service] = []

    def start(**wrong: float) -> Service:
        started.append(Service(tmp_path, wrong))
        monkeypatch.setattr(watch, "now", started[-1].now)
        return started[-1]

    monkeypatch.setattr(watch, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(watch, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(watch, "ours", lambda args, state: None)
    monkeypatch.setattr(watch, "journal", lambda args: ["said"])
    monkeypatch.setattr(gate, "journal", lambda args: ["said"])
    monkeypatch.setattr(gate, "PASSED", str(tmp_path / "passed.json"))
    yield start
    for each in started:
        each.end()


def asked(service: Service, tmp_path: Path, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "address": "127.0.0.1", "port": service.port, "model": MODEL, "release": ONE, "unit": "phi4-edge.service",
        "engine": "onnx", "health": "/health", "names_release": True, "compose": False, "gpu": False, "webui": None,
        "watch_seconds": seconds, "generation_seconds": 20.0, "receipt": str(tmp_path / "receipt.json"), **more,
    }  # fmt: skip


def failure(args: dict[str, Any]) -> tuple[dict[str, Any], str, float]:
    """Numbers, message, and how long it took until it was sure."""
    begin = time.monotonic()
    with pytest.raises(hostlib.HostError) as raised:
        watch.watch(args, b"")
    assert raised.value.details["journal"] == ["said"]
    assert raised.value.details["step"] == raised.value.details["watch"]["step"]
    return raised.value.details["watch"], str(raised.value), time.monotonic() - begin


def test_a_service_that_stays_up_is_probed_and_generates_twice(service: Callable[..., Service], tmp_path: Path) -> None:
    found = watch.watch(asked(service(), tmp_path, 1.0), b"")["watch"]
    assert (found["release"], found["restarts"], found["failures"], found["step"]) == (ONE, 0, 0, "")
    assert 2 <= found["probes"] <= 12
    assert 1.0 <= found["seconds"] < 30
    assert [words["tokens"] for words in found["generations"]] == [1, 1]


def test_no_program_is_run_while_nothing_happens(service: Callable[..., Service], tmp_path: Path) -> None:
    """Asking systemd or Docker every two seconds would cost a small board more than serving does."""
    running = service()
    looks: list[float] = []
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(watch, "now", lambda args: (looks.append(time.monotonic()), running.now(args))[1])
        found = watch.watch(asked(running, tmp_path, 1.0), b"")["watch"]
    assert found["probes"] >= 2
    assert len(looks) == 2


@pytest.mark.parametrize(
    ("wrong", "step", "words", "seconds"),
    [
        ({"die_after": 0.7}, "restart", "was started over: ActiveState activating (was active), MainPID 0", 60.0),
        ({"hang_after": 0}, "generation", "no answer to a prompt within 3.0 s", 60.0),
        ({"hang_after": 1}, "generation", "no answer to a prompt within 3.0 s", 3.0),
        ({"deaf_after": 0.7}, "health", "unhealthy 3 times in a row: timed out", 60.0),
    ],
)
def test_what_goes_wrong_is_found_as_soon_as_it_is_sure(
    service: Callable[..., Service], tmp_path: Path, wrong: dict[str, float], step: str, words: str, seconds: float
) -> None:
    more = {"generation_seconds": 3.0} if "hang_after" in wrong else {}
    found, message, took = failure(asked(service(**wrong), tmp_path, seconds, **more))
    assert found["step"] == step
    assert words in message
    assert took < 40, "it was sure within a few seconds; a watch of 60 s does not wait for its end"
    assert found["restarts"] == (1 if step == "restart" else 0)


def test_an_engine_that_is_killed_while_it_answers_was_started_over(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """That the answer broke off says less."""
    running = service(hang_after=0)
    threading.Timer(0.4, running.process.send_signal, (signal.SIGKILL,)).start()
    found, message, took = failure(asked(running, tmp_path, 60.0, generation_seconds=30.0))
    assert (found["step"], found["restarts"], found["generations"]) == ("restart", 1, [])
    assert "MainPID 0" in message
    assert took < 25  # and not until the answer is out of time


def test_one_that_was_started_over_and_runs_again_is_found_too(service: Callable[..., Service], tmp_path: Path) -> None:
    running = service()

    def again() -> None:
        with running.quiet:
            running.end()
            running.process = running.start()
            running.state |= {"NRestarts": "1", "InvocationID": "b"}

    later = threading.Timer(0.5, again)
    later.start()
    found, message, _took = failure(asked(running, tmp_path, 60.0))
    later.join()
    assert (found["step"], found["restarts"]) == ("restart", 1)
    assert "started over" in message


@pytest.mark.parametrize("state", ["failed", "inactive"])
def test_one_that_does_not_run_is_no_restart(service: Callable[..., Service], tmp_path: Path, state: str) -> None:
    running = service()
    running.state["ActiveState"] = state
    found, message, _took = failure(asked(running, tmp_path, 60.0))
    assert (found["step"], found["restarts"], found["probes"]) == ("process", 0, 0)
    assert f"phi4-edge.service went down: ActiveState {state} (was active)" in message


@pytest.mark.parametrize(
    ("now", "noted", "restarts"),
    [
        ({"NRestarts": "1"}, {"NRestarts": "1", "release": ONE}, 0),
        ({"NRestarts": "3"}, {"NRestarts": "1", "release": ONE}, 2),
        # Somebody started it by hand since, which sets systemd's count back.
        ({"NRestarts": "0"}, {"NRestarts": "1", "release": ONE}, 0),
        ({"container_restarts": "2"}, {"NRestarts": "0", "container_restarts": "1", "release": ONE}, 1),
        # The gate has let another release pass: nobody knows, and the receipt is older than the process.
        ({"NRestarts": "2"}, {"NRestarts": "0", "release": TWO}, 2),
    ],
)  # fmt: skip
def test_what_was_started_over_between_gate_and_watch_counts(
    service: Callable[..., Service], tmp_path: Path, now: dict[str, str], noted: dict[str, str], restarts: int
) -> None:
    running = service()
    args = asked(running, tmp_path, 0.1)
    (tmp_path / "passed.json").write_text(json.dumps(noted))
    (tmp_path / "receipt.json").write_text("{}")
    os.utime(tmp_path / "receipt.json", (time.time() - 60, time.time() - 60))
    running.state |= now | {"ActiveEnterTimestampMonotonic": str(int((time.monotonic() - 5) * 1e6))}
    if not restarts:
        assert watch.watch(args, b"")["watch"]["restarts"] == 0
        return
    found, message, _took = failure(args)
    assert (found["restarts"], found["probes"]) == (restarts, 0)
    assert f"was started over {restarts} times since it passed the gate" in message


def test_restarts_before_the_receipt_was_written_do_not_count(service: Callable[..., Service], tmp_path: Path) -> None:
    running = service()
    (tmp_path / "receipt.json").write_text("{}")
    running.state |= {"NRestarts": "1", "ActiveEnterTimestampMonotonic": str(int((time.monotonic() - 5) * 1e6))}
    assert watch.watch(asked(running, tmp_path, 0.1), b"")["watch"]["restarts"] == 0


def test_an_engine_that_has_no_room_is_asked_again(
    service: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that people use is not unhealthy."""
    said = iter([watch.BusyError("generation", "status 429"), {"tokens": 3}])

    def generating(_args: dict[str, Any]) -> Any:
        found = next(said)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(watch, "generating", generating)
    args = asked(service(), tmp_path, 0.1)
    seen = watch.Seen(ONE)
    watch.generated(args, seen)
    assert seen.generations == [{"tokens": 3}]
    monkeypatch.setattr(watch, "generating", lambda _args: (_ for _ in ()).throw(watch.BusyError("generation", "x")))
    with pytest.raises(watch.BusyError):
        watch.generated(dict(args, generation_seconds=0.3), seen)


def test_a_gate_that_is_out_of_time_still_brings_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it took too long stands there, and nowhere else."""

    def running(_args: dict[str, Any], _end: float) -> dict[str, str]:
        raise gate.OutOfTime

    monkeypatch.setattr(gate, "running", running)
    monkeypatch.setattr(gate, "journal", lambda args: ["loading weights"])
    monkeypatch.setattr(gate.gateport, "stranger", lambda port, unit: "")
    args = {"start_seconds": 600.0, "seconds_left": 20.0, "port": 1, "unit": "phi4-edge.service", "compose": False,
            "address": "127.0.0.1"}  # fmt: skip
    with pytest.raises(hostlib.HostError, match="step time: found no end of gate after 17 s") as raised:
        gate.gate(args, b"")
    assert raised.value.details == {"step": "time", "journal": ["loading weights"], "timedout": {"period": 20}}
    assert "loading weights" in str(raised.value)
