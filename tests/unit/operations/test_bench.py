"""A fleet is measured: what each host gets, what stays, what is said of those that fail, and what people see."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core import speed
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.speed import Measured, Speed
from phi4_edge.data import schema
from phi4_edge.errors import HostFailedError, UnreachableError
from phi4_edge.inference import load
from phi4_edge.inference.load import Load
from phi4_edge.inventory import Host
from phi4_edge.operations import bench, benched
from phi4_edge.operations.bench import Bench
from phi4_edge.operations.benched import Benched, Forecast, Wish
from phi4_edge.operations.desk import Desk
from phi4_edge.operations.fleet import Fleet
from phi4_edge.report import bench as report_bench
from phi4_edge.report.text import cells
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.access import Access
from phi4_edge.ssh import tunnel
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.wire import Open
from tests.unit.inference.standin_openai import MODEL, Handler, delta, serving, usage
from tests.unit.inference.test_client import AREA, TOOLS
from tests.unit.inference.test_load import paced
from tests.unit.operations.test_look import looked, probed

GOLDEN = Path(__file__).parent / "golden"
FIXTURE = Path(__file__).parents[2] / "fixtures" / "hosts" / "n150-8gb.json"
WISH = Wish(Load(words=20, tokens=8, rounds=2, seconds=5))
CALL = {"index": 0, "function": {"name": AREA.name, "arguments": '{"radius": 5}'}}
KNOWN = Forecast(8.0, "board", 0.4, 4_700_000_000)


class Notebook:
    """Stands for the desk: writes down what hosts are asked, and answers as an honest host does, or as it is told."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.answers: dict[str, Any] = {
            "usage": {"memory": 4_750_000_000, "vram": 6_000_000_000, "cpu": 0.0123}, "keep": {"changed": True},
            **answers,
        }  # fmt: skip

    def ask(self, host: Host, operation: tuple[str, str, str], wish: Mapping[str, Any], seconds: float) -> Any:
        self.asked.append((operation[2], wish))
        answer = self.answers[operation[2]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kept(self) -> tuple[Measured, ...]:
        record = next(wish["record"] for name, wish in self.asked if name == "keep")
        return speed.read(json.dumps(record)) or ()


@pytest.fixture(autouse=True)
def hurried(believed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REST_SECONDS", "IDLE_SECONDS", "WATCH_SECONDS"):
        monkeypatch.setattr(bench, name, 0.0)


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    return parse(json.loads(FIXTURE.read_text(encoding="utf-8")))


@pytest.fixture
def at(facts: HostFacts) -> Iterator[Callable[..., Benched]]:
    """The benchmark of a host whose engine behaves so."""

    def run(behave: Any, book: Notebook, wish: Wish = WISH, place: str = "cpu", **changes: Any) -> Benched:
        with serving(behave) as server:
            receipt = Receipt(
                True, engine="onnx", quantization="int4", model=MODEL, bind="127.0.0.1", threads=4, context_length=4096,
                parallel=1, release="r-0123456789ab", service_manager="systemd", port=server.server_address[1],
            )  # fmt: skip
            seen = dataclasses.replace(
                facts, receipt=dataclasses.replace(receipt, **changes.pop("receipt", {})), **changes
            )
            host, known = Host("gw1", "127.0.0.1", connection="local"), (place, KNOWN)
            desk: Any = book
            return Bench(host, seen, known, desk, tunnel.http_connection, wish, Open(), print).run()

    yield run


def test_a_host_is_measured_and_keeps_it(at: Callable[..., Benched]) -> None:
    book = Notebook()
    found = at(paced(0.5, 0.01, known=0.01), book)
    measured = found.measured
    assert (found.result.outcome, found.notes) == (Outcome.DONE, ())
    assert measured is not None and book.kept() == (measured,)
    assert 10 < measured.decode < 105
    assert measured.first_cold and measured.first_warm and 0.5 <= measured.first_cold > measured.first_warm
    assert (measured.memory, measured.idle) == (4_750_000_000, 0.0123)
    assert (measured.streams, measured.streams_decode) == (1, None)
    assert (measured.model, measured.accelerator, measured.threads) == (MODEL, "cpu", 4)
    assert found.to_dict()["memory_error"] == -0.011
    watched = [wish for name, wish in book.asked if name == "usage"]
    assert watched[0]["unit"] == "phi4-edge.service" and watched[0]["compose"] is False


def test_as_many_streams_as_the_host_was_planned_for(at: Callable[..., Benched]) -> None:
    found = at(paced(0.05, 0.01), Notebook(), receipt={"parallel": 3}).measured
    assert found is not None and found.streams == 3 and found.streams_decode
    asked = at(paced(0.05, 0.01), Notebook(), dataclasses.replace(WISH, streams=2, full=False)).measured
    assert asked is not None and (asked.streams, asked.memory) == (2, None)


def test_a_host_that_says_it_serves_countless_streams_has_no_countless_threads(
    at: Callable[..., Benched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MOST_STREAMS", 3)
    found = at(paced(0.05, 0.01), Notebook(), receipt={"parallel": 1 << 60}).measured
    assert found is not None and found.streams == 3


def test_what_was_measured_before_stays_and_the_same_is_replaced(at: Callable[..., Benched]) -> None:
    old = Measured(MODEL, "onnx", "int4", "cpu", 4, 4096, 1, "r-1", 5, 3.0)
    other = dataclasses.replace(old, engine="ollama", quantization="q8_0")
    book = Notebook()
    found = at(paced(0.02, 0.01), book, speed=Speed(None, (old, other)))
    assert book.kept() == (found.measured, other)


def test_of_a_gpu_its_memory_counts_without_that_of_others(at: Callable[..., Benched]) -> None:
    found = at(paced(0.02, 0.01), Notebook(), place="cuda", receipt={"gpu": "GPU-1", "vram_held_by_others": 10**9})
    assert found.measured is not None and found.measured.memory == 5 * 10**9


def test_tool_calls_are_asked_for_in_both_ways_and_counted(at: Callable[..., Benched]) -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        if "tools" in body and not body["stream"]:
            handler.json({"error": {"message": "no tools"}}, 400)
        elif "tools" in body:
            handler.events(delta(tool_calls=[CALL]), delta("tool_calls"), usage(1, 9))
        else:
            paced(0.02, 0.01)(handler, body)

    found = at(behave, Notebook(), dataclasses.replace(WISH, questions=(TOOLS,)))
    assert found.result.outcome is Outcome.DONE and found.tool_calls == (1, 2)
    assert found.notes == ("a tool call was not answered: the engine answered HTTP 400: no tools",)
    assert at(paced(0.02, 0.01), Notebook()).tool_calls is None


def bad(handler: Handler, _: dict[str, Any]) -> None:
    handler.json({"error": {"message": "no memory"}}, 500)


@pytest.mark.parametrize(
    ("behave", "answers", "outcome", "said"),
    [
        (bad, {}, Outcome.FAILED, "the engine answered HTTP 500: no memory"),
        (paced(0.01, 0.01, tokens=1), {}, Outcome.FAILED, "needed more to tell a speed from"),
        (paced(0.01, 0.01), {"keep": HostFailedError("found release r-2")}, Outcome.FAILED, "found release r-2"),
        (paced(0.01, 0.01), {"keep": UnreachableError("it is gone")}, Outcome.UNREACHABLE, "it is gone"),
    ],
)
def test_a_host_that_fails_is_told(
    at: Callable[..., Benched], behave: Any, answers: dict[str, Any], outcome: Outcome, said: str
) -> None:
    found = at(behave, Notebook(**answers))
    assert found.result.outcome is outcome and said in found.result.reason and found.result.next_step
    # What was measured before the record could not be kept is shown all the same.
    assert (found.measured is not None) == bool(answers)


def test_what_a_host_does_not_count_stays_open(at: Callable[..., Benched]) -> None:
    found = at(paced(0.02, 0.01), Notebook(usage={"counted": False, "memory": -1, "vram": -1, "cpu": -1})).measured
    assert found is not None and (found.memory, found.idle) == (None, None)


def test_a_host_that_counts_nothing_is_measured_all_the_same(at: Callable[..., Benched]) -> None:
    found = at(paced(0.02, 0.01), Notebook(usage=HostFailedError("found no process")))
    assert found.result.outcome is Outcome.DONE and found.measured is not None
    assert (found.measured.memory, found.measured.idle) == (None, None)
    assert found.notes == ("memory and idle time were not measured: found no process",)


def test_operations_go_over_the_session_of_the_look(tmp_path: Path) -> None:
    with probed(tmp_path) as (gw1, server), Sessions() as sessions:
        looked([gw1], keep=sessions)
        before = len(server.ran)
        asked = Desk(Fleet((gw1,), Access(("unused",)), {}), sessions, "bench")
        wish = {"compose": False, "project": "p", "unit": "no-such.service", "gpu": "", "seconds": 0}
        with pytest.raises(HostFailedError, match=r"found no process of no-such.service"):
            asked.ask(gw1, bench.USAGE, wish, 0.0)
        with pytest.raises(HostFailedError, match=r"found release None, needed r-1, which was measured"):
            asked.ask(gw1, bench.KEEP, {"record": {}, "release": "r-1"}, 0.0)
        assert len(server.ran) == before + 2


def test_without_a_session_the_same_goes_through_ansible(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(f"gw1 ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    if os.geteuid():
        pytest.skip("the playbook becomes root")
    host = Host("gw1", "127.0.0.1", connection="local")
    asked = Desk(Fleet((host,), Access((str(path),)), {}), Sessions(), "bench")
    wish = {"compose": False, "project": "p", "unit": "no-such.service", "gpu": "", "seconds": 0}
    with pytest.raises(HostFailedError, match=r"found no process of no-such.service"):
        asked.ask(host, bench.USAGE, wish, 0.0)


def test_the_forecast_is_that_of_before_the_measurement(facts: HostFacts) -> None:
    document = json.loads(FIXTURE.read_text())
    fast = Measured("phi-4-mini-instruct", "onnx", "int4", "cpu", 4, 4096, 1, "r-1", 5, 99.0)
    document["sources"]["bench"] = {"text": json.dumps(speed.document([fast]))}
    receipt = Receipt(True, engine="onnx", quantization="int4", model="phi-4-mini-instruct", memory_need=5, threads=4)
    host, fleet = Host("gw1", "192.0.2.1"), Fleet((), Access(("unused",)), {})
    place, said = bench.forecast(fleet, document, host, dataclasses.replace(facts, receipt=receipt))
    assert (place, said) == ("cpu", Forecast(8.0, "board", 0.4, 5))
    tiny = dataclasses.replace(receipt, model="tiny")
    assert bench.forecast(fleet, document, host, dataclasses.replace(facts, receipt=tiny))[1] == Forecast()


DONE = Measured(
    MODEL, "onnx", "int4", "cpu", 4, 4096, 2, "r-0123456789ab", 1_800_000_000, 9.52, 41.2, 15.1, 44.0, 5.213, 0.154,
    4_750_000_000, 0.0041,
)  # fmt: skip
ROWS = (
    Benched("gw1", "onnx", "int4", "r-0123456789ab", HostResult("gw1", Outcome.DONE), DONE, KNOWN),
    Benched(
        "gw-plant-2", "ollama", "q4_K_M", "r-0123456789ab", HostResult("gw-plant-2", Outcome.DONE),
        dataclasses.replace(DONE, prefill=None, memory=None, idle=None, streams=1, streams_decode=None),
        notes=("memory and idle time were not measured: found no process of phi4-edge.service",),
    ),
    Benched(
        "gw3", "vllm", "bf16", "r-2", HostResult("gw3", Outcome.FAILED, "the engine answered HTTP 500", "see the log")
    ),
)  # fmt: skip
LOCKED = HostResult("gw4", Outcome.LOCKED, "held by another run", "wait for it")


def documented() -> dict[str, Any]:
    return benched.document(ROWS, [LOCKED], WISH) | {"made_at": "2027-01-15T08:00:00.000Z"}


def test_the_document_follows_its_schema_and_has_the_worst_exit_code() -> None:
    found = json.loads(json.dumps(documented()))
    registry: Any = Registry().with_resources(
        (f"{name}.schema.json", Resource.from_contents(schema(name))) for name in ("result", "bench")
    )
    jsonschema.Draft202012Validator(schema("bench"), registry=registry).validate(found)
    assert found["exit_code"] == 4
    assert benched.document(ROWS[:2], [LOCKED], WISH)["exit_code"] == 6
    assert benched.document(ROWS[:2], [], WISH)["exit_code"] == 0
    assert found["hosts"][0]["decode_error"] == -0.16


def test_it_stays_on_the_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path))
    path = benched.keep(documented())
    assert path == tmp_path / "bench" / "2027-01-15T080000.000Z.json"
    assert json.loads(path.read_text())["format"] == benched.FORMAT
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("width", [80, 200])
def test_what_people_see(width: int) -> None:
    lines = report_bench.overview(documented(), width)
    assert all(cells(line) <= width for line in lines)
    text, golden = "\n".join(lines) + "\n", GOLDEN / f"bench-{width}.txt"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(text)
    assert golden.read_text() == text


def test_the_plot_has_a_bar_for_each_measurement_and_a_line_for_each_forecast() -> None:
    hostile = dataclasses.replace(ROWS[0], host="<script>&\u202e")
    drawn = ET.fromstring(report_bench.plot(benched.document([*ROWS, hostile], [], WISH)))
    kinds = [element.get("class") for element in drawn.iter()]
    assert (kinds.count("measured"), kinds.count("forecast")) == (3, 2)
    assert "\u202e" not in ET.tostring(drawn, encoding="unicode")
    assert len(list(ET.fromstring(report_bench.plot(benched.document([], [], WISH))).iter())) > 2
