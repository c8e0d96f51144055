"""The instruments of the benchmarks: what they count, and when they say that a goal is met."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from phi4_edge.artifacts.convert import gguf_file
from tests.unit.test_performance_page import BENCHMARKS

MODULES = ("verdict", "trips", "far_link", "harness", "run", "random_gguf", "bench_serving", "bench_decode")


@pytest.fixture(scope="module")
def room() -> Iterator[dict[str, ModuleType]]:
    """Modules of benchmarks/, which import each other by their bare names, and are gone afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if (BENCHMARKS / f"{name}.py").exists():
                del sys.modules[name]


@pytest.mark.parametrize(("hosts_are_all", "ours", "met"), [(True, 1.0, True), (True, 2.0, False), (False, 1.0, None)])
def test_a_goal_is_met_or_missed_or_too_small(
    room: dict[str, ModuleType], hosts_are_all: bool, ours: float, met: bool | None
) -> None:
    verdict, sample = room["verdict"], room["harness"].Sample
    samples = {"ours": [sample(ours, 1.0)] * 3, "theirs": [sample(2.0, 1.0), sample(2.2, 1.0), sample(9.0, 1.0)]}
    document, rows = verdict._judge(verdict.Goal("ours", "theirs", 2), samples, 0, hosts_are_all)
    assert document["met"] is met
    assert document["ratios"]["wall"]["median"] == 2.2 / ours
    assert verdict.verdict(met) in rows[0][-1]


def test_a_budget_of_bytes_is_for_each_host(room: dict[str, ModuleType]) -> None:
    verdict, sample = room["verdict"], room["harness"].Sample
    goal = verdict.Goal("ours", most=100, what="bytes")
    for used, met in ((400, True), (404, False)):
        document, _ = verdict._judge(goal, {"ours": [sample(1.0, 1.0, 1.0, used)]}, 4, True)
        assert (document["found"]["median"], document["met"]) == (used / 4, met)


def test_the_relay_counts_round_trips(room: dict[str, ModuleType]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as host:

        def echo() -> None:
            with host.accept()[0] as client:
                while data := client.recv(100):
                    client.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        relay = room["trips"].Relay(host.getsockname(), socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=relay.accept, daemon=True).start()
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            for word in (b"one", b"two", b"three"):
                client.sendall(word)
                assert client.recv(100) == word
        relay.listener.shutdown(socket.SHUT_RDWR)
        relay.listener.close()
    assert (relay.connections, relay.trips) == (1, 3)


def test_the_far_link_delays_and_loses(room: dict[str, ModuleType]) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def run(loss: float, count: int) -> list[float]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # a packet for each read, as from a tunnel
        inside, outside = (end.fileno() for end in ends)
        arrived: list[float] = []

        def send(packet: bytes) -> None:
            if packet == b"\x45end":
                raise Enough
            arrived.append(time.monotonic() - float(packet[1:]))

        def feed() -> None:
            for _ in range(count):
                os.write(outside, b"\x45" + str(time.monotonic()).encode())
                time.sleep(0.003)
            while not ended.wait(0.02):
                os.write(outside, b"\x45end")

        ended = threading.Event()
        thread = threading.Thread(target=feed)
        thread.start()
        with pytest.raises(Enough):
            room["far_link"].forward(inside, send, 0.05, loss)
        ended.set()
        thread.join()
        for end in ends:
            end.close()
        return arrived

    whole = run(0.0, 20)
    assert len(whole) == 20 and min(whole) >= 0.05
    assert 20 <= len(run(0.5, 120)) <= 100


def test_options_go_to_the_benchmarks_that_have_them(
    room: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = room["run"]
    words = {}
    for name in run.ORDER:
        monkeypatch.setattr(sys, "argv", ["run.py", "--brief", "--hosts", "8", "--size", "256"])
        words[name] = run._words(name, run._options())
    assert words["startup"] == ["--pairs", "5"]
    assert words["first"] == ["--pairs", "2", "--hosts", "4"]
    assert words["push"] == ["--pairs", "1", "--hosts", "8", "--size", "256"]
    assert words["resume"] == ["--pairs", "1", "--size", "256"]


def test_a_random_gguf_has_a_header_that_says_where_each_tensor_is(room: dict[str, ModuleType], tmp_path: Path) -> None:
    gguf = room["random_gguf"]
    path, shape = tmp_path / "model.gguf", gguf.Shape(2, 256, 4, 2, 64, 512, 320, 48, embedding=gguf.Q6_K)
    gguf.write(path, shape)
    header = gguf_file.read(path)
    assert header.values["phi3.rope.dimension_count"] == 48
    assert header.values["phi3.block_count"] == 2
    assert len(header.tensors) == 2 + 6 * 2
    assert header.tensors[0].size == 256 * 320 * 210 // 256
    assert path.stat().st_size == header.data + sum(tensor.size for tensor in header.tensors)


@pytest.mark.parametrize(("one", "met"), [(0.98, True), (0.9, False)])
def test_the_decode_loop_is_judged_by_both_orders(room: dict[str, ModuleType], one: float, met: bool) -> None:
    decode = room["bench_decode"]
    each = {"one stream": one, "four streams": 2.4, "reading": 1.0}
    found = {
        order: {"elapsed": {**each, "one stream": one * way}}
        for order, way in zip(decode.ORDERS, (0.5, 2), strict=True)
    }
    whole = decode.document(found, 3)
    assert [limit["met"] for limit in whole["limits"]] == [met, False, True]
    assert [*whole["rows"][0].values()][1:] == [f"{one / 2:.3f}", f"{one * 2:.3f}", f"{one:.3f}"]


@pytest.mark.parametrize(("ours", "met"), [(50.0, True), (30.0, False)])
def test_serving_is_judged_by_ratios_of_turns(room: dict[str, ModuleType], ours: float, met: bool) -> None:
    serving = room["bench_serving"]
    sides = [serving.Server(name, 1, None) for name in (serving.OURS, serving.THEIRS)]
    for side, rate in zip(sides, (ours, 40.0), strict=True):
        side.samples = {f"{number}": [rate, rate * 1.1] for number in range(6)} | {"at rest": [0.0]}
    found = serving.document(sides, (ours * 5, 2000.0), room["random_gguf"].Shape(4, 1, 1, 1, 1, 1, 1, 1), 2)
    assert found["limits"][0]["met"] is met
    assert (found["limits"][-1]["found"], found["limits"][-1]["met"]) == (ours * 5 / 2000, True)
    assert found["rows"][-2]["phi4-edge"] == f"{ours * 5:.4g}"
    assert found["rows"][0]["ratio"] == f"{ours / 40:.2f} ({ours / 40:.2f} to {ours / 40:.2f})"
    assert found["rows"][-1]["ratio"] == "-"
