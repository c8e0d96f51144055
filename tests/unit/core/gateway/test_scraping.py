"""Who reads /metrics through the gateway: the holders of keys for that alone, whether the engine serves or not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phi4_edge.core.gateway.configuration import configuration
from phi4_edge.core.gateway.model import Gateway, Server
from tests.unit.core.gateway.fake_engine import FakeEngine, serving
from tests.unit.core.gateway.running_gateway import Running, key, needs_haproxy, running, until

pytestmark = pytest.mark.slow

NORTH, SCRAPER, SITE, NEAR = 1, 2, 3, 4


@pytest.fixture(scope="module")
def exporter() -> Iterator[FakeEngine]:
    """Stands in the exporter's place: answers any path."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, exporter: FakeEngine) -> Iterator[Running]:
    keys = [key("north", NORTH), key("metrics", SCRAPER, per_minute=2), key("metrics-plant", SITE)]
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, *keys, key("metricsx", NEAR), exporter_port=exporter.port) as it:
        yield it


@needs_haproxy
@pytest.mark.parametrize("sent", [SCRAPER, SITE])
def test_a_key_for_metrics_reads_them_and_its_secret_ends_there(
    gateway: Running, exporter: FakeEngine, sent: int
) -> None:
    before = len(exporter.seen.paths)
    assert gateway.ask("/metrics", sent=sent).status == 200
    assert exporter.seen.paths[before:] == ["/metrics"]
    assert "authorization" not in exporter.seen.headers[-1]


@needs_haproxy
@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/metrics", None, 401), ("/metrics", 9, 401), ("/metrics", NORTH, 403), ("/metrics", NEAR, 403),
        ("/v1/models", SCRAPER, 403), ("/v1/models", NORTH, 200),
        ("/metrics/", SCRAPER, 404), ("/metricsx", SCRAPER, 404), ("//metrics", SCRAPER, 404),
    ],
)  # fmt: skip
def test_no_other_key_reads_metrics_and_it_reads_nothing_else(
    gateway: Running, exporter: FakeEngine, path: str, sent: int | None, status: int
) -> None:
    before = len(exporter.seen.paths)
    found = gateway.ask(path, sent=sent)
    assert found.status == status
    if status == 403:
        assert found.document["error"]["code"] == "key_not_for_this"
    assert len(exporter.seen.paths) == before


@needs_haproxy
def test_generation_is_refused_to_a_key_for_metrics(gateway: Running) -> None:
    before = len(gateway.engine.seen.paths)
    assert gateway.ask(body={}, sent=SCRAPER).status == 403
    assert len(gateway.engine.seen.paths) == before


@needs_haproxy
def test_scrapes_have_no_limit_and_are_no_part_of_what_keys_share(gateway: Running) -> None:
    assert {gateway.ask("/metrics", sent=SCRAPER).status for _ in range(6)} == {200}


@needs_haproxy
def test_metrics_are_there_while_the_engine_is_not(gateway: Running) -> None:
    gateway.engine.seen.healthy = False
    try:
        until(lambda: gateway.ask("/v1/models", sent=NORTH).status == 503, "the engine still counts as up")
        assert gateway.ask("/metrics", sent=SCRAPER).status == 200
    finally:
        gateway.engine.seen.healthy = True
        until(lambda: gateway.ask("/v1/models", sent=NORTH).status == 200, "the engine does not come back")


@pytest.mark.parametrize("changes", [{"exporter_port": 9102}, {"keys": "/etc/keys.map"}, {}])
def test_without_keys_or_an_exporter_there_is_no_such_path(changes: dict[str, object]) -> None:
    text = configuration(Gateway("127.0.0.1", 8443, Server("tiny"), **changes))  # type: ignore[arg-type]
    assert "scrape" not in text
    assert "backend exporter" not in text


@pytest.mark.parametrize(
    ("port", "words"), [(8443, "taken"), (9101, "taken"), (-1, "0 to 65535"), (70_000, "0 to 65535")]
)
def test_its_port_is_one_of_its_own(port: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"exporter_port: found {port}.*{words}"):
        Gateway("127.0.0.1", 8443, Server("tiny"), exporter_port=port)
