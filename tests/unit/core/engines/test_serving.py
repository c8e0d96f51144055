"""How engines say that they are well, which model is meant, and what the gate is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phi4_edge.core.engines import serving, units
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.layout import STANDARD

HEALTHY = json.dumps({"status": "healthy", "model": "m", "release": "r-1"}).encode()


@pytest.mark.parametrize(
    ("engine", "status", "body", "said"),
    [
        ("onnx", 200, HEALTHY, serving.Said("healthy", "r-1")),
        ("onnx", 503, b'{"status": "loading", "model": "m"}', serving.Said("loading")),
        ("onnx", 200, b"", None),
        ("onnx", 200, b"[]", None),
        ("ollama", 200, b'{"version": "0.35.0"}', serving.Said("healthy")),
        ("ollama", 200, HEALTHY, None),
        ("ollama", 404, b"404 page not found", None),
        ("vllm", 200, b"", serving.Said("healthy")),
        ("vllm", 503, b"", serving.Said("HTTP 503")),
        ("vllm", 404, b'{"detail": "Not Found"}', None),
    ],
)
def test_what_a_health_answer_means(engine: str, status: int, body: bytes, said: serving.Said | None) -> None:
    assert serving.understood(engine, status, body) == said


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 7}', b'{"data": [7, {}]}', b"[" * 100_000])
def test_no_list_of_models_is_an_empty_one(body: bytes) -> None:
    assert serving.listed(body) == ()


def test_the_model_is_found_with_the_tag_that_ollama_adds() -> None:
    names = serving.listed(b'{"data": [{"id": "other:latest"}, {"id": "phi:latest"}, {"id": "phi:old"}]}')
    assert serving.choose_model(names, "phi") == "phi:latest"
    assert serving.choose_model(names, "phi:old") == "phi:old"
    assert serving.choose_model(names, "ph") is None


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "engine": "vllm", "service_manager": "compose", "accelerator": "cuda", "bind": "0.0.0.0", "port": 8080,
        "model": {"served_name": "phi"}, "release": "r-1", "knobs": {"gpu": "GPU-1"},
        "memory": {"weights": 7, "held_by_others": 2}, "switch": {"mode": "beside", "port": 18080},
        "webui": {"bind": "127.0.0.1", "port": 3000}, **changes,
    }  # fmt: skip


def test_the_gate_asks_the_service_where_it_answers() -> None:
    found = serving.question(plan(), STANDARD)
    assert (found["unit"], found["address"], found["port"]) == ("phi4-edge.service", "127.0.0.1", 8080)
    assert (found["project"], found["compose"], found["health"]) == ("phi4-edge", True, "/health")
    assert (found["gpu"], found["gpu_uuid"], found["weights"], found["held_by_others"]) == (True, "GPU-1", 7, 2)
    assert found["webui"] == {"address": "127.0.0.1", "port": 3000}


def test_the_gate_asks_a_rehearsal_on_loopback_and_not_the_page_beside_it() -> None:
    found = serving.question(plan(bind="10.0.0.7"), STANDARD, rehearsal=True)
    assert (found["unit"], found["address"], found["port"]) == ("phi4-edge-rehearsal.service", "127.0.0.1", 18080)
    assert (found["project"], found["webui"]) == ("phi4-edge-rehearsal", None)


def test_a_plan_from_before_says_less_and_is_enough() -> None:
    old = plan(accelerator="cpu", service_manager="systemd", engine="onnx")
    for name in ("memory", "switch", "webui"):
        del old[name]
    found = serving.question(old, STANDARD)
    assert (found["gpu"], found["weights"], found["webui"]) == (False, 0, None)


def test_every_native_engine_can_be_rehearsed_on_loopback() -> None:
    native = [name for name, engine in ENGINES.items() if engine.native]
    assert native == ["onnx", "ollama"]
    for engine in native:
        text = units.rehearsal_environment(plan(engine=engine, service_manager="systemd"))
        assert "127.0.0.1" in text
        assert "18080" in text


def test_a_value_in_an_environment_file_cannot_leave_its_quotes() -> None:
    assert serving.environment_file({"A": 'x"$`\\'}) == 'A="x\\"\\$\\`\\\\"\n'


@pytest.mark.parametrize(
    ("body", "held"),
    [
        (b'{"models": [{"name": "phi-4-mini-instruct:latest"}]}', True),
        (b'{"models": []}', False),
        (b'{"models": null}', None),
        (b"{}", None),
        (b"[]", None),
        (b"\xff", None),
    ],
)
def test_whether_an_engine_holds_its_model(body: bytes, held: bool | None) -> None:
    assert serving.holds_model(body) is held
