"""A real Prometheus with the exported configuration scrapes a gateway of each engine, over TLS and with a key.

Every question of every dashboard has an answer then, and every alert's expression can be evaluated.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.monitoring import rules, scraping
from phi4_edge.core.monitoring.dashboards import DASHBOARDS
from phi4_edge.core.monitoring.scraping import Target
from tests.ansible.gateway import exporting
from tests.ansible.plays import ROOT
from tests.standins import metric_pages
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import free_port, key, needs_haproxy, running, token, until
from tests.unit.core.monitoring.prometheus import PROMETHEUS, needs_prometheus

pytestmark = [needs_haproxy, needs_prometheus]
ENGINES = ("onnx", "vllm", "ollama")
NORTH, SCRAPER = 1, 2
SCRAPES = 4
UNITS = """\
Id=phi4-edge.service\nLoadState=loaded\nActiveState=active\nNRestarts=1\n
Id=phi4-edge-heal.service\nLoadState=loaded\nActiveState=inactive\nNRestarts=0\nExecMainExitTimestampMonotonic=1000000
"""
GPU = "0, 24564, 18211, 37, 61, 143.20, 0x0000000000000000"
SYS = {
    "class/thermal/thermal_zone0/type": "x86_pkg_temp", "class/thermal/thermal_zone0/temp": "61000",
    "class/thermal/cooling_device0/type": "Processor", "class/thermal/cooling_device0/cur_state": "0",
    "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
}  # fmt: skip


class Prometheus:
    """Asks a Prometheus that runs."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        with urllib.request.urlopen(f"{self.base}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of an instant query."""
        found = self.get("/api/v1/query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def programs(folder: Path) -> Path:
    """Stand-ins of what the exporter starts, and a stand-in of /sys beside them."""
    for name, said in (("systemctl", UNITS), ("nvidia-smi", GPU)):
        (folder / f"{name}.txt").write_text(said)
        (folder / name).write_text(f"#!/bin/sh\ncat {folder}/{name}.txt\n")
        (folder / name).chmod(0o755)
    for name, text in SYS.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "receipt.json").write_text("{}")
    (folder / "fact").write_text(json.dumps({"format": "phi4-edge/fact/1", "release": "r-000000000000"}))
    return folder


@contextlib.contextmanager
def gateway(engine: str, folder: Path, pem: Path, host: Path) -> Iterator[int]:
    """The port of a gateway whose clients ask now and then, with an exporter behind it; that of vLLM wants certificates
    of clients."""
    own = {"/api/ps": metric_pages.loaded()} if engine == "ollama" else {"/metrics": metric_pages.growing(engine)}
    port, keys, ended = free_port(), (key("north", NORTH), key("metrics", SCRAPER)), threading.Event()
    client_ca = str(pem.with_name("chain.pem")) if engine == "vllm" else ""
    with (
        metric_pages.serving(own) as pages,
        running(folder, *keys, certificate=str(pem), exporter_port=port, client_ca=client_ca) as it,
    ):
        front = {"metrics_port": it.gateway.metrics_port, "exporter_port": port, "port": it.gateway.port}
        wanted = exporting.plan(engine, pages.port, 0, accelerator="cuda", knobs={"selfheal": True})
        wanted["gateway"] = {**front, "bind": "0.0.0.0", "tls": True, "queue": 16}

        def ask() -> None:
            while not ended.wait(0.3):
                it.ask(body={}, sent=NORTH, shown=pem)

        clients = threading.Thread(target=ask)
        with exporting.serving(wanted, host, sys_path=str(host / "sys"), fact=str(host / "fact")):
            clients.start()
            try:
                yield it.gateway.port
            finally:
                ended.set()
                clients.join()


@contextlib.contextmanager
def scraping_all(folder: Path, ports: dict[str, int], pem: Path) -> Iterator[Prometheus]:
    """A Prometheus with what the export has for these gateways; it scrapes every two seconds."""
    targets = [Target(f"localhost:{port}", f"gw-{engine}", ("edge",)) for engine, port in ports.items()]
    text = scraping.configuration(ca_file=str(pem), shown=(str(pem), str(pem))).replace(
        f"scrape_interval: {scraping.INTERVAL}", "scrape_interval: 2s"
    )
    text = text.replace("scrape_timeout: 10s", "scrape_timeout: 2s")
    (folder / scraping.CONFIGURATION).write_text(f"global: {{evaluation_interval: 1s}}\n{text}")
    (folder / scraping.TARGETS).write_text(scraping.targets_file(targets))
    (folder / scraping.RULES).write_text(rules.rules_file())
    (folder / scraping.KEY_FILE).write_text(token(SCRAPER))
    port = free_port()
    options = [f"--config.file={folder / scraping.CONFIGURATION}", f"--storage.tsdb.path={folder / 'data'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(PROMETHEUS), *options], stdout=log, stderr=log, env={}, cwd=folder)
        try:
            found = Prometheus(port)
            until(found.ready, f"Prometheus does not start: {(folder / 'log').read_text()}")
            yield found
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped each gateway several times."""
    pem = certificate(tmp_path_factory.mktemp("certificate"))
    host = programs(tmp_path_factory.mktemp("host"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("PATH", f"{host}:/usr/bin:/bin")
        ports = {one: stack.enter_context(gateway(one, tmp_path_factory.mktemp(one), pem, host)) for one in ENGINES}
        found = stack.enter_context(scraping_all(tmp_path_factory.mktemp("prometheus"), ports, pem))

        def scraped() -> bool:
            counts = [count for _labels, count in found.values("count_over_time(up[5m])")]
            return len(counts) == len(ENGINES) and min(counts) >= SCRAPES

        until(scraped, "not every gateway was scraped")
        yield found


EXPRESSIONS = sorted(
    {(one.name, query.expression) for one in DASHBOARDS for panel in one.panels for query in panel.queries}
)


def test_each_gateway_is_scraped_over_tls_with_its_key(prometheus: Prometheus) -> None:
    def up() -> dict[str, float]:
        return {labels["host"]: value for labels, value in prometheus.values("up")}

    # On a busy machine one scrape may come too late.
    until(lambda: up() == {f"gw-{engine}": 1 for engine in ENGINES}, str(prometheus.get("/api/v1/targets")))
    engines = {labels["host"]: labels["engine"] for labels, _ in prometheus.values("phi4_edge_engine_up")}
    assert engines == {f"gw-{engine}": engine for engine in ENGINES}
    parts = prometheus.values("phi4_edge_scrape_part_success")
    assert {labels["part"] for labels, value in parts if value == 1} > {
        "gateway",
        "engine",
        "ollama",
        "gpu",
        "certificate",
    }
    assert [labels for labels, value in parts if value != 1] == []


@pytest.mark.parametrize(("dashboard", "expression"), EXPRESSIONS)
def test_every_question_of_a_dashboard_has_an_answer(prometheus: Prometheus, dashboard: str, expression: str) -> None:
    asked = expression.replace("$__rate_interval", "30s").replace("$host", ".*").replace("$engine", ".*")
    assert "$" not in asked

    def answered() -> bool:
        return any(not math.isnan(value) for _labels, value in prometheus.values(asked))

    until(answered, f"{dashboard}: {asked} gives {prometheus.values(asked)}")


def test_the_metrics_that_the_documentation_names_are_there(prometheus: Prometheus) -> None:
    named = set(re.findall(r"\bphi4_edge_[a-z0-9_]+\b", (ROOT / "docs" / "monitoring.md").read_text()))
    assert len(named) > 20
    named.remove("phi4_edge_prompts_measured_total")  # no engine here cuts prompts; test_measure_metrics has it
    assert named - {*prometheus.get("/api/v1/label/__name__/values")} == set()


def test_a_series_that_was_never_there_has_none(prometheus: Prometheus) -> None:
    assert prometheus.values("phi4_edge_nothing") == []


def test_every_alert_can_be_evaluated(prometheus: Prometheus) -> None:
    def found() -> list[dict[str, Any]]:
        return [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in found()), str(found()))
    assert [rule["name"] for rule in found()] == [alert.name for alert in rules.ALERTS]
    # What would be wrong here, such as a certificate of two days, is not so for long enough.
    assert {rule["name"] for rule in found() if rule["state"] == "firing"} == set()


def test_series_of_a_fleet_stay_few(prometheus: Prometheus) -> None:
    counts = {labels["host"]: value for labels, value in prometheus.values("count by (host) ({host!=''})")}
    assert set(counts) == {f"gw-{engine}" for engine in ENGINES}
    assert max(counts.values()) < 600
