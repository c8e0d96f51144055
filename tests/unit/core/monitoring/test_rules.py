"""Each alert fires when it should, and not when it should not: Prometheus' own tests of rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.monitoring import rules
from phi4_edge.core.monitoring.rules import ALERTS
from tests.unit.core.monitoring.prometheus import needs_prometheus, promtool

DAY = 86_400
AT = 'host="gw1",instance="gw1:8443",job="phi4-edge"'
WAITING = f'phi4_edge_requests_waiting{{{AT},engine="onnx"}}'
# Of each alert: series that raise it, and some that do not although they are near; values once a minute.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "Phi4EdgeGatewayUnreachable": ({f"up{{{AT}}}": "0x400"}, {f"up{{{AT}}}": "1x397 0x2"}),
    "Phi4EdgeEngineDown": (
        {f'phi4_edge_engine_up{{{AT},engine="onnx"}}': "0x400"},
        {f'phi4_edge_engine_up{{{AT},engine="onnx"}}': "1x399 0x0"},
    ),
    "Phi4EdgeQueueLong": (
        {WAITING: "8x400", f"phi4_edge_requests_waiting_limit{{{AT}}}": "16x400"},
        {WAITING: "7x400", f"phi4_edge_requests_waiting_limit{{{AT}}}": "16x400"},
    ),
    "Phi4EdgeErrors": (
        {
            f'phi4_edge_requests_total{{{AT},engine="onnx",code="5xx"}}': "0+2x400",
            f'phi4_edge_requests_total{{{AT},engine="onnx",code="2xx"}}': "0+10x400",
        },
        {
            f'phi4_edge_requests_total{{{AT},engine="onnx",code="5xx"}}': "0+1x400",
            f'phi4_edge_requests_total{{{AT},engine="onnx",code="2xx"}}': "0+10x400",
        },
    ),
    "Phi4EdgeModelNotLoaded": (
        {f'phi4_edge_model_loaded{{{AT},engine="ollama",model="phi"}}': "0x400"},
        {f'phi4_edge_model_loaded{{{AT},engine="ollama",model="phi"}}': "1x390 0x10"},
    ),
    "Phi4EdgeGpuGone": ({f"phi4_edge_gpu_gone{{{AT}}}": "1x400"}, {f"phi4_edge_gpu_gone{{{AT}}}": "0x400"}),
    "Phi4EdgeCertificateEnds": (
        {f"phi4_edge_certificate_not_after_timestamp_seconds{{{AT}}}": f"{19 * DAY}x400"},
        {f"phi4_edge_certificate_not_after_timestamp_seconds{{{AT}}}": f"{21 * DAY}x400"},
    ),
    "Phi4EdgeCertificateEndsSoon": (
        {f"phi4_edge_certificate_not_after_timestamp_seconds{{{AT}}}": f"{2 * DAY}x400"},
        {f"phi4_edge_certificate_not_after_timestamp_seconds{{{AT}}}": f"{4 * DAY}x400"},
    ),
    "Phi4EdgeDrift": ({f"phi4_edge_drift_findings{{{AT}}}": "2x400"}, {f"phi4_edge_drift_findings{{{AT}}}": "0x400"}),
    "Phi4EdgeDriftUnwatched": (
        {f"phi4_edge_drift_look_age_seconds{{{AT}}}": "3660+60x400"},
        {f"phi4_edge_drift_look_age_seconds{{{AT}}}": "300x400"},
    ),
    "Phi4EdgeNotCommitted": (
        {f"phi4_edge_release_committed{{{AT}}}": "0x400"}, {f"phi4_edge_release_committed{{{AT}}}": "1x350 0x50"},
    ),
    "Phi4EdgeRestarts": (
        {f'phi4_edge_unit_restarts_total{{{AT},unit="phi4-edge.service"}}': "0x380 2 3 4 5 6 7 8x20"},
        {f'phi4_edge_unit_restarts_total{{{AT},unit="phi4-edge.service"}}': "0x380 1 2x20"},
    ),
    "Phi4EdgeThrottled": (
        {f'phi4_edge_gpu_throttled{{{AT},gpu="0"}}': "1x400"},
        {f'phi4_edge_throttled{{{AT},reason="cooling"}}': "0x395 1x5"},
    ),
    "Phi4EdgeMemoryShort": (
        {f"phi4_edge_memory_available_bytes{{{AT}}}": "4x400", f"phi4_edge_memory_total_bytes{{{AT}}}": "100x400"},
        {f"phi4_edge_memory_available_bytes{{{AT}}}": "6x400", f"phi4_edge_memory_total_bytes{{{AT}}}": "100x400"},
    ),
    "Phi4EdgeDiskShort": (
        {
            f'phi4_edge_disk_available_bytes{{{AT},directory="state"}}': "4x400",
            f'phi4_edge_disk_size_bytes{{{AT},directory="state"}}': "100x400",
        },
        {
            f'phi4_edge_disk_available_bytes{{{AT},directory="state"}}': "6x400",
            f'phi4_edge_disk_size_bytes{{{AT},directory="state"}}': "100x400",
        },
    ),
    "Phi4EdgeMetricsIncomplete": (
        {f'phi4_edge_scrape_part_success{{{AT},part="units"}}': "0x400"},
        {
            f'phi4_edge_scrape_part_success{{{AT},part="engine"}}': "0x400",
            f'phi4_edge_engine_up{{{AT},engine="onnx"}}': "0x400",
        },
    ),
}  # fmt: skip


def case(name: str, series: dict[str, str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "name": name,
    }


def run(tmp_path: Path, tests: list[dict[str, Any]]) -> str:
    (tmp_path / "alerts.yml").write_text(rules.rules_file())
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": tests}))
    return promtool("test", "rules", tmp_path / "tests.yml")


def test_every_alert_has_a_case() -> None:
    assert [alert.name for alert in ALERTS] == list(CASES)


@needs_prometheus
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(rules.rules_file())
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", tmp_path / "alerts.yml")


@needs_prometheus
def test_each_fires_and_does_not_fire(tmp_path: Path) -> None:
    assert "SUCCESS" in run(tmp_path, [asked(True), asked(False)])


@needs_prometheus
def test_each_of_these_tests_can_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failed:
        run(tmp_path, [asked(True, swapped=True), asked(False, swapped=True)])
    assert str(failed.value).count("exp:") == 2 * len(CASES)


def asked(fires: bool, swapped: bool = False) -> dict[str, Any]:
    """A test of all alerts, on a host of its own each: that it fires with its first series, or is silent with its
    second; or the other way.
    """
    series, wanted = {}, []
    for name, both in CASES.items():
        series |= {one.replace("gw1", name): values for one, values in both[fires == swapped].items()}
        query = f'count(ALERTS{{alertname="{name}",alertstate="firing",host="{name}"}})'
        samples = [{"labels": "{}", "value": 1}] if fires else []
        wanted.append({"expr": query, "eval_time": "400m", "exp_samples": samples})
    return {**case("all", series), "promql_expr_test": wanted}


def test_each_says_which_host_what_is_wrong_and_what_to_do() -> None:
    found = yaml.safe_load(rules.rules_file())["groups"][0]["rules"]
    for rule, alert in zip(found, ALERTS, strict=True):
        assert rule["annotations"]["summary"].startswith("{{ $labels.host }}: ")
        assert len(rule["annotations"]["action"]) > 20
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert (rule["alert"], rule["expr"]) == (alert.name, alert.expression)


@needs_prometheus
def test_what_an_alert_says(tmp_path: Path) -> None:
    """The text of one, with the value in it."""
    wanted = {
        "exp_labels": {"severity": "critical", "host": "gw1", "instance": "gw1:8443", "job": "phi4-edge"},
        "exp_annotations": {
            "summary": "gw1: the gateway's certificate ends in 1d 17h 20m 0s",
            "action": "Run phi4-edge provision now: clients will refuse the gateway.",
        },
    }
    name = "Phi4EdgeCertificateEndsSoon"
    alerts = [{"eval_time": "400m", "alertname": name, "exp_alerts": [wanted]}]
    run(tmp_path, [{**case("words", CASES[name][0]), "alert_rule_test": alerts}])
