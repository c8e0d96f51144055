"""The alerts: each says what is wrong with which host, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from phi4_edge.core.monitoring.scraping import JOB

_DAY = 86_400
# `provision` issues a new certificate when a third of its life is left, which is 30 of its 90 days.
CERTIFICATE_DAYS, LAST_DAYS = 20, 3


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `lasts`: for how long its expression must hold, as Prometheus writes times."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    action: str


ALERTS = (
    Alert(
        "Phi4EdgeGatewayUnreachable", f'up{{job="{JOB}"}} == 0', "3m", "critical", "cannot be scraped",
        "Is the host up, is the key known, do the units run? systemctl status phi4-edge-gateway phi4-edge-metrics",
    ),
    Alert(
        "Phi4EdgeEngineDown", "phi4_edge_engine_up == 0", "2m", "critical",
        "the engine ({{ $labels.engine }}) does not answer",
        "Run phi4-edge status; on the host: journalctl -u phi4-edge.",
    ),
    Alert(
        "Phi4EdgeQueueLong",
        # From there on the gateway refuses keys that got more than their part.
        "phi4_edge_requests_waiting >= on (host, instance) group_left () (phi4_edge_requests_waiting_limit / 2)",
        "5m", "warning",
        "{{ $value }} requests wait for the engine", "Who asks so much? Limit a key (phi4-edge key), or add a gateway.",
    ),
    Alert(
        "Phi4EdgeErrors",
        'sum by (host, engine) (rate(phi4_edge_requests_total{code="5xx"}[5m])) / '
        "sum by (host, engine) (rate(phi4_edge_requests_total[5m])) > 0.1",
        "5m", "warning", "{{ $value | humanizePercentage }} of the requests fail",
        "On the host: journalctl -u phi4-edge.",
    ),
    Alert(
        "Phi4EdgeModelNotLoaded", "phi4_edge_model_loaded == 0", "15m", "warning",
        "{{ $labels.model }} is not loaded", "On the host: systemctl status phi4-edge-load.",
    ),
    Alert(
        "Phi4EdgeGpuGone", "phi4_edge_gpu_gone == 1", "2m", "critical",
        "the GPU that the release needs does not answer",
        "On the host: nvidia-smi, dmesg | grep -i xid. A reboot often brings it back; phi4-edge doctor says more.",
    ),
    Alert(
        "Phi4EdgeCertificateEnds",
        f"phi4_edge_certificate_not_after_timestamp_seconds - time() < {CERTIFICATE_DAYS * _DAY}",
        "1h", "warning", "the gateway's certificate ends in {{ $value | humanizeDuration }}",
        "Run phi4-edge provision: it renews certificates of the fleet's own authority. One of yours: bring a new one.",
    ),
    Alert(
        "Phi4EdgeCertificateEndsSoon",
        f"phi4_edge_certificate_not_after_timestamp_seconds - time() < {LAST_DAYS * _DAY}",
        "5m", "critical", "the gateway's certificate ends in {{ $value | humanizeDuration }}",
        "Run phi4-edge provision now: clients will refuse the gateway.",
    ),
    Alert(
        "Phi4EdgeDrift", "phi4_edge_drift_findings > 0", "15m", "warning",
        "{{ $value }} things are not as committed, and the host cannot put them right",
        "Run phi4-edge status, then provision.",
    ),
    Alert(
        "Phi4EdgeDriftUnwatched", "phi4_edge_drift_look_age_seconds > 3600", "15m", "warning",
        "nothing looked for drift for {{ $value | humanizeDuration }}",
        "On the host: systemctl status phi4-edge-heal.timer.",
    ),
    Alert(
        "Phi4EdgeNotCommitted", "phi4_edge_release_committed == 0", "1h", "warning",
        "another release runs than the one that was committed", "A run was cut off: run phi4-edge provision.",
    ),
    Alert(
        "Phi4EdgeRestarts", "increase(phi4_edge_unit_restarts_total[30m]) >= 3", "0m", "warning",
        "{{ $labels.unit }} was started anew {{ $value | humanize }} times in half an hour",
        "On the host: journalctl -u {{ $labels.unit }}.",
    ),
    Alert(
        "Phi4EdgeThrottled", "phi4_edge_throttled == 1 or phi4_edge_gpu_throttled == 1", "10m", "warning",
        "it is slowed down by heat or power",
        "Look at its cooling and its power supply; plans take its speed for granted.",
    ),
    Alert(
        "Phi4EdgeMemoryShort", "phi4_edge_memory_available_bytes / phi4_edge_memory_total_bytes < 0.05",
        "10m", "warning", "{{ $value | humanizePercentage }} of its memory is available",
        "What else runs there? phi4-edge doctor says more.",
    ),
    Alert(
        "Phi4EdgeDiskShort", "phi4_edge_disk_available_bytes / phi4_edge_disk_size_bytes < 0.05", "15m", "warning",
        "{{ $value | humanizePercentage }} of the disk of its {{ $labels.directory }} directory is free",
        "The next release needs room: phi4-edge plan says how much.",
    ),
    Alert(
        "Phi4EdgeMetricsIncomplete",
        "phi4_edge_scrape_part_success == 0 unless on (host, instance) phi4_edge_engine_up == 0", "15m", "warning",
        "its metrics lack the part {{ $labels.part }}", "On the host: journalctl -u phi4-edge-metrics.",
    ),
)  # fmt: skip


def rules_file() -> str:
    """Return the file of rules for Prometheus."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield "# Alerts of the gateways of phi4-edge."
    yield from ("groups:", f"  - name: {JOB}", "    rules:")
    for alert in ALERTS:
        yield f"      - alert: {alert.name}"
        # What JSON quotes, YAML reads.
        yield f"        expr: {json.dumps(alert.expression)}"
        yield from (f"        for: {alert.lasts}", "        labels:", f"          severity: {alert.severity}")
        yield from ("        annotations:", f"          summary: {json.dumps('{{ $labels.host }}: ' + alert.summary)}")
        yield f"          action: {json.dumps(alert.action)}"
