"""The exporter as Prometheus meets it: all parts on one page, and what a bad one costs the others, which is nothing."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.gateway.exporting import exporter, metrics_served, metrics_text, plan, scraped, serving
from tests.standins import metric_pages
from tests.standins.metric_pages import Answer, Pages, loaded, recorded


@pytest.fixture(autouse=True)
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Says of our units what systemd says of a host whose service was restarted twice."""
    block = "Id=phi4-edge{}\nLoadState={}\nActiveState={}\nNRestarts={}\nExecMainExitTimestampMonotonic={}\n"
    told = [
        (".service", "loaded", "active", 2, 0), ("-load.service", "not-found", "inactive", 0, 0),
        ("-gateway.service", "loaded", "failed", 5, 0), ("-heal.service", "loaded", "inactive", 0, 1_000_000),
    ]  # fmt: skip
    (tmp_path / "bin").mkdir()
    (tmp_path / "said").write_text("\n".join(block.format(*one) for one in told))
    program = tmp_path / "bin" / "systemctl"
    program.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return program


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a host with a receipt, and the local fact beside it."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "receipt.json").write_text("{}")
    (tmp_path / "fact").write_text(json.dumps({"format": "phi4-edge/fact/1", "release": "r-000000000000"}))
    return folder


def site(*answers: Answer, engine: str = "onnx") -> Iterator[tuple[Pages, Pages]]:
    """An engine and HAProxy's metrics, with these answers in the place of the recorded ones."""
    path = "/api/ps" if engine == "ollama" else "/metrics"
    own = loaded() if engine == "ollama" else recorded(engine)
    first, second = itertools.islice(itertools.chain(answers, (own, recorded("haproxy"))[len(answers) :]), 2)
    with metric_pages.serving({path: first}) as one, metric_pages.serving({"/metrics": second}) as other:
        yield one, other


def page(engine: str, state: Path, *answers: Answer, **more: Any) -> dict[str, float]:
    """One scrape of an exporter: value by name and labels, as the page has them."""
    for one, other in site(*answers, engine=engine):
        wanted = plan(engine, one.port, other.port, **more)
        with serving(wanted, state, fact=str(state.parent / "fact")) as port:
            status, text = scraped(port)
            assert status == 200
            return values(text)
    raise AssertionError


def values(text: str) -> dict[str, float]:
    """Value by name and labels."""
    assert metrics_text.parse(text.encode(), lambda _name: True, {})[1] == 0
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def good(found: dict[str, float]) -> dict[str, float]:
    """Whether each part is there."""
    pattern = re.compile(r'phi4_edge_scrape_part_success\{part="(.*)"\}')
    return {named.group(1): value for name, value in found.items() if (named := pattern.fullmatch(name))}


@pytest.mark.parametrize("engine", ["onnx", "vllm", "ollama"])
def test_every_engine_has_the_same_names_at_the_gateway(engine: str, state: Path) -> None:
    found = page(engine, state)
    assert set(good(found).values()) == {1}
    assert found[f'phi4_edge_engine_up{{engine="{engine}"}}'] == 1
    assert found[f'phi4_edge_requests_total{{code="2xx",engine="{engine}"}}'] == 6
    assert found[f'phi4_edge_requests_waiting{{engine="{engine}"}}'] == 0
    assert found[f'phi4_edge_requests_running{{engine="{engine}"}}'] == 0
    assert found[f'phi4_edge_time_to_first_byte_average_seconds{{engine="{engine}"}}'] > 0
    assert found['haproxy_frontend_http_requests_total{proxy="gateway"}'] >= 6
    assert [name for name in found if name.startswith("haproxy_process_n")] == []
    assert found["phi4_edge_memory_total_bytes"] > found["phi4_edge_memory_available_bytes"] > 1 << 20
    assert found['phi4_edge_disk_available_bytes{directory="state"}'] > 0


def test_engines_say_what_they_say_with_their_name_on_it(state: Path) -> None:
    onnx, vllm = page("onnx", state), page("vllm", state)
    assert onnx['vllm:request_success_total{engine="onnx",finished_reason="stop",model_name="phi-4-mini-instruct"}'] > 0
    labels = 'engine="vllm",exported_engine="0",model_name="phi-4-mini-instruct"'
    assert vllm[f"vllm:num_requests_running{{{labels}}}"] == 2
    assert {name.split("{")[0] for name in vllm if name.startswith(("python_", "process_", "http_"))} == set()
    assert {name for name in vllm if "_created" in name} == set()


def test_what_ollama_has_loaded(state: Path) -> None:
    found = page("ollama", state)
    labels = '{engine="ollama",model="phi-4-mini-instruct"}'
    assert found[f"phi4_edge_model_loaded{labels}"] == 1
    assert found[f"phi4_edge_model_size_bytes{labels}"] == 3_758_096_384
    assert found[f"phi4_edge_model_expires_timestamp_seconds{labels}"] == 10_988_122_865
    assert found['phi4_edge_other_models_loaded{engine="ollama"}'] == 0
    none = page("ollama", state, b'{"models": [{"name": "other"}, 7, {"size": "x"}]}')
    assert none[f"phi4_edge_model_loaded{labels}"] == 0
    assert none['phi4_edge_other_models_loaded{engine="ollama"}'] == 3
    assert not any(name.startswith("phi4_edge_model_size") for name in none)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"a 1\n" * 10_000)


def slow(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.2)


def silent(_handler: BaseHTTPRequestHandler) -> None:
    time.sleep(4)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"vllm:a 1\n")


def headers(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    for number in range(2000):
        handler.send_header(f"X-{number}", "y")
    handler.end_headers()


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01 nonsense\r\n\r\n")


@pytest.mark.parametrize("answer", [endless, slow, silent, cut_off, headers, no_http], ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["onnx", "ollama"])
def test_a_part_that_misbehaves_is_named_and_the_others_are_there(engine: str, answer: Answer, state: Path) -> None:
    began = time.monotonic()
    found = page(engine, state, answer)
    assert time.monotonic() - began < exporter.SCRAPE_SECONDS + 1
    bad = "ollama" if engine == "ollama" else "engine"
    assert {name for name, value in good(found).items() if not value} == {bad}
    assert not any(name.startswith(("vllm:", "phi4_edge_model_")) for name in found)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"models": {}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_answer_of_ollamas_is_named(answer: bytes, state: Path) -> None:
    assert good(page("ollama", state, answer))["ollama"] == 0


def test_what_is_no_sample_is_counted_and_not_passed_on(state: Path) -> None:
    junk = b'vllm:a{b="c"} 1\nvllm:b 1e999\n<html>\nvllm:c{d="' + b"x" * 300 + b'"} 1\nphi4_edge_engine_up 7\n'
    found = page("onnx", state, junk)
    assert found['phi4_edge_scrape_dropped_total{part="engine"}'] == 3
    assert [name for name in found if name.startswith("vllm:")] == ['vllm:a{b="c",engine="onnx"}']
    assert not any(value == 7 for name, value in found.items() if "engine_up" in name), "no engine says our own"


def test_an_engine_without_metrics_is_not_asked(state: Path) -> None:
    assert "engine" not in good(page("onnx", state, knobs={"metrics": False}))


def test_how_the_release_stands(state: Path) -> None:
    found = page("onnx", state, knobs={"selfheal": True})
    assert found["phi4_edge_receipt_present"] == found["phi4_edge_release_committed"] == 1
    assert found["phi4_edge_drift_watched"] == 1
    assert found["phi4_edge_drift_findings"] == 0
    assert found["phi4_edge_drift_look_age_seconds"] > 0
    told = {
        "format": "phi4-edge/heal/1",
        "left": ["a", "b"],
        "held": "/etc/phi4-edge/hold",
        "attempts": [time.time(), 1, "x"],
    }
    (state / "heal.json").write_text(json.dumps(told))
    (state / "receipt.json").unlink()
    (state.parent / "fact").write_text(json.dumps({"format": "phi4-edge/fact/1", "release": "r-111111111111"}))
    found = page("onnx", state, knobs={"selfheal": True})
    assert found["phi4_edge_receipt_present"] == found["phi4_edge_release_committed"] == 0
    assert (found["phi4_edge_drift_findings"], found["phi4_edge_drift_repairs_last_hour"]) == (2, 1)
    assert found["phi4_edge_drift_held"] == 1
    found = page("onnx", state)
    assert found["phi4_edge_drift_watched"] == 0
    assert "phi4_edge_drift_findings" not in found


def test_units_that_are_there_and_no_others(state: Path) -> None:
    found = page("onnx", state)
    assert found['phi4_edge_unit_restarts_total{unit="phi4-edge.service"}'] == 2
    assert found['phi4_edge_unit_failed{unit="phi4-edge-gateway.service"}'] == 1
    assert found['phi4_edge_unit_active{unit="phi4-edge.service"}'] == 1
    assert not any("phi4-edge-load.service" in name for name in found)


def test_a_systemctl_that_hangs_holds_nobody(systemctl: Path, state: Path) -> None:
    systemctl.write_text("#!/bin/sh\nsleep 30\n")
    found = page("onnx", state)
    assert {name for name, value in good(found).items() if not value} == {"units"}


def test_only_get_of_metrics_is_answered(state: Path) -> None:
    for one, other in site():
        with serving(plan("onnx", one.port, other.port), state) as port:
            assert scraped(port, "/")[0] == scraped(port, "/metrics/")[0] == 404
            assert scraped(port, method="POST")[0] == scraped(port, method="HEAD")[0] == 501
            assert scraped(port, "/metrics?x=1")[0] == 200


def test_many_scrapes_at_once_ask_each_part_once(state: Path) -> None:
    answers: list[int] = []
    for one, other in site():
        with serving(plan("onnx", one.port, other.port), state) as port:
            threads = [threading.Thread(target=lambda: answers.append(scraped(port)[0])) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == [200] * 4
            assert one.asked == ["/metrics"]
            assert len(other.asked) == 1


def test_who_holds_connections_open_keeps_no_memory(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    monkeypatch.setattr(exporter, "CONNECTION_SECONDS", 0.5)
    for one, other in site():
        with serving(plan("onnx", one.port, other.port), state) as port:
            held = [socket.create_connection(("127.0.0.1", port)) for _ in range(exporter.MOST_CONNECTIONS)]
            for each in held:
                each.send(b"GET /metrics HTTP/1.1\r\nX: ")
            time.sleep(0.1)
            with pytest.raises((OSError, http.client.HTTPException)):
                scraped(port)
            time.sleep(1)
            assert scraped(port)[0] == 200
            for each in held:
                each.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-12-01T00:00:00Z", 1_796_083_200), ("2026-12-01T01:00:00.5+01:00", 1_796_083_200),
        ("9999-13-01T00:00:00Z", None), ("yesterday", None), (7, None), (None, None),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
    ],
)  # fmt: skip
def test_times_as_go_writes_them(text: object, seconds: float | None) -> None:
    assert metrics_served.moment(text) == seconds
