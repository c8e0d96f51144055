"""What the dashboards show: each panel's question to Prometheus, unit and place."""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.monitoring.scraping import JOB


@dataclass(frozen=True, slots=True)
class Query:
    """A question to Prometheus, and what each of its series is called."""

    expression: str
    legend: str = "{{host}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `kind`, `unit`: Grafana's words. `width` of 24 columns, `height` in its rows."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    description: str = ""
    width: int = 12
    height: int = 8
    least: float | None = 0


def _graph(title: str, unit: str, *queries: Query, description: str = "", least: float | None = 0) -> Panel:
    return Panel(title, queries, unit, description=description, least=least)


def _stat(title: str, expression: str, unit: str = "short", description: str = "") -> Panel:
    return Panel(title, (Query(expression, ""),), unit, "stat", description, width=4, height=4)


def _quantiles(name: str, by: str = "host, engine") -> tuple[Query, ...]:
    """Half and 95 % of what a histogram of an engine counts."""
    rates = f"sum by (le, {by}) (rate({name}_bucket{{{_CHOSEN}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({share}, {rates})", f"{{{{host}}}} p{round(share * 100)}") for share in (0.5, 0.95)
    )


_AT = 'host=~"$host"'
_CHOSEN = f'{_AT}, engine=~"$engine"'
_RATE = "[$__rate_interval]"
_LAST_1024 = "The average of the last 1,024 requests, as HAProxy has it."
_SLOW_ANSWERS = "Where an answer comes in one piece, its first byte comes with its last."

FLEET = (
    _stat("Gateways", f'count(up{{job="{JOB}"}})'),
    _stat("Not reached", f'count(up{{job="{JOB}"}} == 0) or vector(0)'),
    _stat("Engines down", "count(phi4_edge_engine_up == 0) or vector(0)"),
    _stat("Hosts with drift", "count(phi4_edge_drift_findings > 0) or vector(0)"),
    _stat("GPUs gone", "count(phi4_edge_gpu_gone == 1) or vector(0)"),
    _stat("Next certificate to end", "min(phi4_edge_certificate_not_after_timestamp_seconds) - time()", "s"),
    Panel("What each host serves", (Query("phi4_edge_release_info", ""),), kind="table", width=24),
    _graph("Requests", "reqps", Query(f"sum by (host) (rate(phi4_edge_requests_total{_RATE}))")),
    _graph(
        "Share that fails", "percentunit",
        Query(f'sum by (host) (rate(phi4_edge_requests_total{{code="5xx"}}{_RATE})) / '
              f"(sum by (host) (rate(phi4_edge_requests_total{_RATE})) > 0)"),
    ),
    _graph("Requests that wait", "short", Query("phi4_edge_requests_waiting")),
    _graph(
        "Time to first byte", "s", Query("phi4_edge_time_to_first_byte_average_seconds"),
        description=f"{_LAST_1024} {_SLOW_ANSWERS}",
    ),
    _graph("Generated tokens, of engines that count them", "short",
           Query(f"sum by (host) (rate(vllm:generation_tokens_total{_RATE}))")),
    _graph("Highest temperature", "celsius", Query("max by (host) (phi4_edge_temperature_celsius)"), least=None),
    _graph("Things that drifted", "short", Query("phi4_edge_drift_findings"),
           description="Of hosts that look after themselves (phi4_selfheal)."),
    _graph("Restarts in an hour", "short", Query("sum by (host) (increase(phi4_edge_unit_restarts_total[1h]))")),
)  # fmt: skip

HOST = (
    _graph("Memory", "bytes", Query(f"phi4_edge_memory_available_bytes{{{_AT}}}", "{{host}} available"),
           Query(f"phi4_edge_memory_total_bytes{{{_AT}}}", "{{host}} in all")),
    _graph("Free disk", "bytes", Query(f"phi4_edge_disk_available_bytes{{{_AT}}}", "{{host}} {{directory}}")),
    _graph("Load for each processor", "short", Query(f"phi4_edge_load1{{{_AT}}} / phi4_edge_cpus{{{_AT}}}")),
    _graph("Temperature", "celsius", Query(f"phi4_edge_temperature_celsius{{{_AT}}}", "{{host}} {{sensor}}"),
           Query(f"phi4_edge_gpu_temperature_celsius{{{_AT}}}", "{{host}} GPU {{gpu}}"), least=None),
    _graph("Slowed down now", "short", Query(f"phi4_edge_throttled{{{_AT}}}", "{{host}} {{reason}}"),
           Query(f"phi4_edge_gpu_throttled{{{_AT}}}", "{{host}} GPU {{gpu}}")),
    _graph("Times slowed down by hardware", "short",
           Query(f"increase(phi4_edge_throttle_events_total{{{_AT}}}{_RATE})", "{{host}} {{domain}}")),
    _graph("GPU memory", "bytes", Query(f"phi4_edge_gpu_memory_used_bytes{{{_AT}}}", "{{host}} {{gpu}} used"),
           Query(f"phi4_edge_gpu_memory_total_bytes{{{_AT}}}", "{{host}} {{gpu}} in all")),
    _graph("GPU use", "percentunit", Query(f"phi4_edge_gpu_utilization_ratio{{{_AT}}}", "{{host}} {{gpu}}")),
    _graph("GPU power", "watt", Query(f"phi4_edge_gpu_power_watts{{{_AT}}}", "{{host}} {{gpu}}")),
    _graph("GPUs", "short", Query(f"phi4_edge_gpus{{{_AT}}}"), Query(f"phi4_edge_gpu_gone{{{_AT}}}", "{{host}} gone")),
    _graph("Units that run", "short", Query(f"phi4_edge_unit_active{{{_AT}}}", "{{host}} {{unit}}"),
           Query(f"phi4_edge_unit_failed{{{_AT}}}", "{{host}} {{unit}} failed")),
    _graph("Restarts", "short", Query(f"increase(phi4_edge_unit_restarts_total{{{_AT}}}[1h])", "{{host}} {{unit}}")),
    _graph("Release and receipt", "short", Query(f"phi4_edge_receipt_present{{{_AT}}}", "{{host}} receipt"),
           Query(f"phi4_edge_release_committed{{{_AT}}}", "{{host}} committed"),
           Query(f"phi4_edge_drift_watched{{{_AT}}}", "{{host}} looks for drift")),
    _graph("Drift", "short", Query(f"phi4_edge_drift_findings{{{_AT}}}", "{{host}} left"),
           Query(f"phi4_edge_drift_repairs_last_hour{{{_AT}}}", "{{host}} put right in the last hour"),
           Query(f"phi4_edge_drift_held{{{_AT}}}", "{{host}} held")),
    _graph("Since the last look for drift", "s", Query(f"phi4_edge_drift_look_age_seconds{{{_AT}}}")),
    _graph("Since the receipt was written", "s",
           Query(f"time() - phi4_edge_receipt_written_timestamp_seconds{{{_AT}}}")),
    _graph("Certificate is still good for", "s",
           Query(f"phi4_edge_certificate_not_after_timestamp_seconds{{{_AT}}} - time()"), least=None),
    _graph("Connections of clients", "short",
           Query(f'haproxy_frontend_current_sessions{{{_AT}, proxy="gateway"}}'),
           Query(f'haproxy_frontend_limit_sessions{{{_AT}, proxy="gateway"}}', "{{host}} at most")),
    _graph("Answers of the gateway, by class", "reqps",
           Query(f'rate(haproxy_frontend_http_responses_total{{{_AT}, proxy="gateway"}}{_RATE})', "{{host}} {{code}}")),
    _graph("Parts of the metrics", "short", Query(f"phi4_edge_scrape_part_success{{{_AT}}}", "{{host}} {{part}}")),
    _graph("Time for each part of the metrics", "s",
           Query(f"phi4_edge_scrape_part_seconds{{{_AT}}}", "{{host}} {{part}}"),
           Query(f'scrape_duration_seconds{{{_AT}, job="{JOB}"}}', "{{host}} in all")),
    _graph("Dropped from the metrics", "short",
           Query(f"increase(phi4_edge_scrape_dropped_total{{{_AT}}}{_RATE})", "{{host}} {{part}}")),
)  # fmt: skip

ENGINE = (
    _graph("Engine answers", "short", Query(f"phi4_edge_engine_up{{{_CHOSEN}}}", "{{host}} {{engine}}")),
    _graph("Requests, by class of status", "reqps",
           Query(f"sum by (host, code) (rate(phi4_edge_requests_total{{{_CHOSEN}}}{_RATE}))", "{{host}} {{code}}")),
    _graph("At the gateway", "short", Query(f"phi4_edge_requests_running{{{_CHOSEN}}}", "{{host}} running"),
           Query(f"phi4_edge_requests_waiting{{{_CHOSEN}}}", "{{host}} waiting")),
    _graph("Averages at the gateway", "s",
           Query(f"phi4_edge_queue_time_average_seconds{{{_CHOSEN}}}", "{{host}} in the queue"),
           Query(f"phi4_edge_time_to_first_byte_average_seconds{{{_CHOSEN}}}", "{{host}} to the first byte"),
           Query(f"phi4_edge_request_time_average_seconds{{{_CHOSEN}}}", "{{host}} in all"),
           description=f"{_LAST_1024} {_SLOW_ANSWERS}"),
    _graph("Tokens a second", "short",
           Query(f"sum by (host) (rate(vllm:generation_tokens_total{{{_CHOSEN}}}{_RATE}))", "{{host}} generated"),
           Query(f"sum by (host) (rate(vllm:prompt_tokens_total{{{_CHOSEN}}}{_RATE}))", "{{host}} read"),
           description="ONNX and vLLM; Ollama does not count."),
    _graph("Time to first token", "s", *_quantiles("vllm:time_to_first_token_seconds")),
    _graph("From token to token", "s", *_quantiles("vllm:inter_token_latency_seconds")),
    _graph("From request to the end of its answer", "s", *_quantiles("vllm:e2e_request_latency_seconds")),
    _graph("In the engine's queue", "s", *_quantiles("vllm:request_queue_time_seconds")),
    _graph("In the engine", "short", Query(f"vllm:num_requests_running{{{_CHOSEN}}}", "{{host}} running"),
           Query(f"vllm:num_requests_waiting{{{_CHOSEN}}}", "{{host}} waiting")),
    _graph("Cache in use", "percentunit", Query(f"vllm:kv_cache_usage_perc{{{_CHOSEN}}}")),
    _graph("Share of prompts that the cache had", "percentunit",
           Query(f"sum by (host) (rate(vllm:prefix_cache_hits_total{{{_CHOSEN}}}{_RATE})) / "
                 f"(sum by (host) (rate(vllm:prefix_cache_queries_total{{{_CHOSEN}}}{_RATE})) > 0)")),
    _graph("How answers end", "reqps",
           Query(f"sum by (host, finished_reason) (rate(vllm:request_success_total{{{_CHOSEN}}}{_RATE}))",
                 "{{host}} {{finished_reason}}")),
    _graph("Ollama: model is loaded", "short", Query(f"phi4_edge_model_loaded{{{_CHOSEN}}}", "{{host}} {{model}}"),
           Query(f"phi4_edge_other_models_loaded{{{_CHOSEN}}}", "{{host}} others")),
    _graph("Ollama: memory of the model", "bytes", Query(f"phi4_edge_model_size_bytes{{{_CHOSEN}}}", "{{host}} in all"),
           Query(f"phi4_edge_model_size_vram_bytes{{{_CHOSEN}}}", "{{host}} on the GPU")),
)  # fmt: skip
