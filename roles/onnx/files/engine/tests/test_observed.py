"""What operators see: request ids, metrics, and which web pages may use the engine."""

from __future__ import annotations

import re
import time

import pytest
from client import DEADLINE, Answer, Engine
from conftest import StartEngine
from prometheus_client.parser import text_string_to_metric_families
from shapes import error, script

from phi4_engine.names import origin_of

PAGE = "https://chat.example:3000"


def samples(engine: Engine) -> dict[str, float]:
    """Each sample of /metrics by its name and its own labels, as Prometheus reads them."""
    answer = engine.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            own = {name: value for name, value in sample.labels.items() if name not in ("model_name", "engine")}
            assert sample.labels["engine"] == "onnx"
            assert sample.labels["model_name"] == "phi-4-mini-instruct"
            found[" ".join([sample.name, *own.values()])] = sample.value
    return found


def test_answers_are_counted_under_the_names_of_vllm(start: StartEngine) -> None:
    engine = start(PHI4_PARALLEL="2", PHI4_QUEUE="0")
    engine.wait_for(200)
    before = samples(engine)
    assert engine.chat(script("ab", "<|end|>", prompt_tokens=100)).status == 200
    assert engine.chat(script("abcdefgh", prompt_tokens=100), max_tokens=4).status == 200
    assert engine.chat(script(do="fail")).status == 500
    stream = engine.stream(script("x", step=0.02, prompt_tokens=100))
    next(stream.events())
    during = samples(engine)
    assert (during["vllm:num_requests_running"], during["vllm:num_requests_waiting"]) == (1, 0)
    assert 100 / 800 <= during["vllm:kv_cache_usage_perc"] < 1
    stream.close()
    give_up = time.monotonic() + DEADLINE
    while (after := samples(engine))["vllm:num_requests_running"]:
        assert time.monotonic() < give_up
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    reasons = [grown[f"vllm:request_success_total {name}"] for name in ("stop", "length", "error", "abort")]
    assert reasons == [1, 1, 1, 1]
    assert grown["vllm:prompt_tokens_total"] >= 300
    assert 7 <= grown["vllm:generation_tokens_total"] < 400
    assert grown["vllm:time_to_first_token_seconds_count"] >= 2
    assert grown["vllm:e2e_request_latency_seconds_count"] == 2
    assert grown["vllm:request_queue_time_seconds_count"] == 4
    assert grown["vllm:inter_token_latency_seconds_bucket +Inf"] >= 3
    assert grown["vllm:prefix_cache_hits_total"] == 0
    assert grown["phi4_edge:http_responses_total 500"] == 1
    assert (after["vllm:num_requests_running"], after["vllm:kv_cache_usage_perc"]) == (0, 0)


def test_no_client_makes_series(engine: Engine) -> None:
    def names() -> set[str]:
        return {name for name in samples(engine) if "http_responses" not in name}

    before = names()
    for number in range(200):
        sent = {"X-Request-Id": f"id-{number}", "User-Agent": f"a{number}"}
        engine.request("GET", f"/v1/models/m{number}", headers=sent)
        engine.chat("hi", model=f"m{number}", user=f"u{number}")
    assert names() == before
    statuses = [name for name in samples(engine) if "http_responses" in name]
    assert len(statuses) < 20


def test_metrics_can_be_switched_off(start: StartEngine) -> None:
    engine = start(PHI4_METRICS="off")
    engine.wait_for(200)
    assert engine.get("/metrics").status == 404


@pytest.mark.parametrize("given", ["abc-123", "A.b:c_d", "x" * 128])
def test_a_request_keeps_its_id(engine: Engine, given: str) -> None:
    answer = engine.request(
        "POST", "/v1/chat/completions", b'{"messages":[{"role":"user","content":"hi"}]}', {"X-Request-Id": given}
    )
    assert (answer.status, answer.headers["x-request-id"]) == (200, given)
    engine.wait_for_log(f"({given}): ")


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb", "<script>", "é".encode().decode("latin-1")])
def test_one_that_has_none_or_a_bad_one_gets_one(engine: Engine, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    found = {engine.request("GET", path, headers=headers).headers["x-request-id"] for path in ("/health", "/nope")}
    assert len(found) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in found)


def asked(engine: Engine, origin: str, method: str = "POST") -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    body = b'{"messages":[{"role":"user","content":"hi"}]}' if method == "POST" else None
    return engine.request(method, "/v1/chat/completions", body, headers)


def test_no_page_of_another_origin_may_use_the_engine_by_default(engine: Engine) -> None:
    for method in ("OPTIONS", "POST"):
        answer = asked(engine, PAGE, method)
        assert (answer.status, error(answer)["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in asked(engine, "http://localhost:3000").headers


def test_pages_of_the_listed_origins_may(start: StartEngine) -> None:
    engine = start(PHI4_CORS_ORIGINS=f"{PAGE}, http://192.0.2.7")
    engine.wait_for(200)
    before = asked(engine, PAGE, "OPTIONS")
    assert (before.status, before.body) == (204, b"")
    assert before.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert "content-type" in before.headers["access-control-allow-headers"]
    for answer in (before, asked(engine, PAGE), asked(engine, PAGE, "GET")):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
    for other in ("https://chat.example", "http://chat.example:3000", "https://evil.example", "null", f"{PAGE}0"):
        assert asked(engine, other).status == 403


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://chat.example:3000", "https://chat.example:3000"),
        ("HTTPS://Chat.Example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("http://[2001:db8:0::7]:81", "http://[2001:db8::7]:81"),
        ("*", None),
        ("null", None),
        ("chat.example", None),
        ("https://chat.example/", None),
        ("https://chat.example/x", None),
        ("https://a@chat.example", None),
        ("https://chat.example:", None),
        ("https://chat.example:99999", None),
        ("ftp://chat.example", None),
        ("https://", None),
        ("https://*.example", None),
    ],
)
def test_what_an_origin_is(text: str, origin: str | None) -> None:
    assert origin_of(text) == origin
