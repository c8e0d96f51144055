"""What the engine says of itself, what the gateway sees of it, and until when the gateway's certificate is good.

Python 3.8, standard library. The gateway's own counts come under names that are the same for all engines, so that one
dashboard and one alert do for all of them; an engine that counts nothing itself is seen through them alone.
"""

from __future__ import annotations

import datetime
import json
import re
import socket
from typing import Any, Dict, NamedTuple, Optional

from metrics_fetch import certificate_end, fetch
from metrics_text import Family, Page, parse

SECONDS = 2.0
LIMIT = 2 << 20
DOCUMENT_LIMIT = 256 << 10
LINE_LIMIT = 4096
# As `phi4_edge.core.release.measure_unit` has it: the socket of what measures prompts.
MEASURE = "/run/phi4-edge-measure/socket"
# What HAProxy says that is passed on: it has 200 families more.
PASSED = frozenset(
    "haproxy_" + name
    for name in (
        "process_start_time_seconds", "frontend_current_sessions", "frontend_limit_sessions",
        "frontend_http_requests_total", "frontend_http_responses_total", "frontend_bytes_in_total",
        "frontend_bytes_out_total", "frontend_request_errors_total", "frontend_denied_connections_total",
        "backend_current_queue", "backend_current_sessions", "backend_active_servers", "backend_http_responses_total",
        "backend_connection_errors_total", "backend_response_errors_total", "backend_client_aborts_total",
        "backend_server_aborts_total", "backend_check_up_down_total", "backend_downtime_seconds_total",
        "backend_queue_time_average_seconds", "backend_response_time_average_seconds",
        "backend_total_time_average_seconds", "backend_http_queue_time_average_seconds",
        "backend_http_response_time_average_seconds", "backend_http_total_time_average_seconds",
    )
)  # fmt: skip
# As `phi4_edge.core.gateway.configuration` calls what leads to the engine.
BACKEND = "engine"
CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


class Place(NamedTuple):
    """Where something answers."""

    address: str
    port: int


def engine(page: Page, place: Place, name: str) -> int:
    """What the engine counts, under vLLM's names; how much of it was no valid sample. Raises OSError."""
    raw = fetch(place.address, place.port, "/metrics", SECONDS, LIMIT)
    families, dropped = parse(raw, of_engine, {"engine": name})
    page.take(families)
    return dropped


def of_engine(family: str) -> bool:
    """Whether a family is the engine's own, and neither its runtime's nor the moment at which another one began."""
    return family.startswith(("vllm:", "phi4_edge:")) and not family.endswith("_created")


def gateway(page: Page, place: Place, name: str) -> int:
    """What the gateway counts; how much of it was no valid sample. Raises OSError."""
    path = "/metrics?scope=global&scope=frontend&scope=backend"
    raw = fetch(place.address, place.port, path, SECONDS, LIMIT)
    families, dropped = parse(raw, PASSED.__contains__, {})
    page.take(families)
    _neutral(page, families, name)
    return dropped


def _neutral(page: Page, families: Dict[str, Family], engine_name: str) -> None:
    """The gateway's counts of requests to the engine, under names that are the same for all engines."""
    up, sessions = _backend(families, "active_servers"), _backend(families, "current_sessions")
    waiting = _backend(families, "current_queue")
    if up is not None:
        text = "Whether the engine answers the gateway's health check."
        page.add("phi4_edge_engine_up", "gauge", text, min(up, 1.0), engine=engine_name)
    if waiting is not None:
        text = "Requests that wait at the gateway for the engine."
        page.add("phi4_edge_requests_waiting", "gauge", text, waiting, engine=engine_name)
    if waiting is not None and sessions is not None:
        text = "Requests that the engine answers."
        page.add("phi4_edge_requests_running", "gauge", text, max(sessions - waiting, 0.0), engine=engine_name)
    for code in CODES:
        found = _backend(families, "http_responses_total", code=code)
        if found is not None:
            text = "Requests that went to the engine, by the class of their status."
            page.add("phi4_edge_requests_total", "counter", text, found, engine=engine_name, code=code)
    for ours, theirs, text in (
        ("queue_time", "queue_time", "Time in the gateway's queue, the average of the last 1024 requests."),
        (
            "time_to_first_byte",
            "response_time",
            "From the engine's turn to its first byte, the average of the last 1024.",
        ),
        ("request_time", "total_time", "From the request to the end of its answer, the average of the last 1024."),
    ):
        # Before 2.4 with http in their names.
        found = _backend(families, theirs + "_average_seconds")
        found = _backend(families, "http_%s_average_seconds" % theirs) if found is None else found
        if found is not None:
            page.add("phi4_edge_%s_average_seconds" % ours, "gauge", text, found, engine=engine_name)


def _backend(families: Dict[str, Family], name: str, **labels: str) -> Optional[float]:
    """What HAProxy says of the backend that leads to the engine; None where it says nothing."""
    whole = "haproxy_backend_" + name
    family = families.get(whole)
    wanted = tuple(sorted({"proxy": BACKEND, **labels}.items()))
    found = family.samples.get((whole, wanted)) if family else None
    return None if found is None else float(found)


def ollama(page: Page, place: Place, model: str) -> int:
    """What Ollama has loaded. Raises OSError, or ValueError for what is no answer of Ollama's."""
    raw = fetch(place.address, place.port, "/api/ps", SECONDS, DOCUMENT_LIMIT)
    document = json.loads(raw.decode("utf-8", "replace"))
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise ValueError("no list of models")
    named = [one for one in models if isinstance(one, dict) and str(one.get("name")) in (model, model + ":latest")]
    said: Dict[str, str] = {"engine": "ollama", "model": model}
    page.add("phi4_edge_model_loaded", "gauge", "Whether the planned model is loaded.", len(named[:1]), **said)
    others = len(models) - len(named)
    page.add(
        "phi4_edge_other_models_loaded", "gauge", "Models that are loaded and not planned.", others, engine="ollama"
    )
    for one in named[:1]:
        sizes = (("size", "Memory of the loaded model."), ("size_vram", "Memory of the loaded model on the GPU."))
        for key, text in sizes:
            value = one.get(key)
            if isinstance(value, int) and 0 <= value < 1 << 60:
                page.add("phi4_edge_model_%s_bytes" % key, "gauge", text, value, **said)
        end = moment(one.get("expires_at"))
        if end is not None:
            name = "phi4_edge_model_expires_timestamp_seconds"
            page.add(name, "gauge", "When the model will be unloaded if nobody asks it.", end, **said)
    return 0


def measured(page: Page, place: str = MEASURE) -> int:
    """How many prompts were measured, and what was found. Raises OSError, or ValueError for no answer of ours."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.sendall(b"COUNTS 0\n")
        said = client.makefile("rb").readline(LINE_LIMIT)
    counts = json.loads(said.decode("utf-8", "replace"))
    if not isinstance(counts, dict):
        raise ValueError("no counts")
    for found in ("fits", "long", "unknown"):
        value = counts.get(found)
        if isinstance(value, int) and 0 <= value < 1 << 60:
            text = "Prompts that were measured; those that are long were refused, those that are unknown passed."
            page.add("phi4_edge_prompts_measured_total", "counter", text, value, found=found)
    return 0


def moment(text: Any) -> Optional[float]:
    """Seconds since 1970 of a time as Go writes it; None for anything else."""
    found = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return None
    try:
        zone = found.group(2).replace("Z", "+00:00")
        return datetime.datetime.fromisoformat(found.group(1) + zone).timestamp()
    except (ValueError, OverflowError):
        return None


def certificate(page: Page, place: Place) -> int:
    """Until when the certificate is good that the gateway shows. Raises OSError or ValueError."""
    end = certificate_end(place.address, place.port, SECONDS)
    name = "phi4_edge_certificate_not_after_timestamp_seconds"
    page.add(name, "gauge", "Until when the gateway's certificate is good.", end)
    return 0
