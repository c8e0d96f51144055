"""Labs for the whole session, and the journal of a lab's hosts when a test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.fleet import Fleets
from tests.e2e.gateway import Cli, Gateway

HOSTS = ("gateway-6gb", "gateway-8gb", "server-16gb")


@pytest.fixture(scope="session")
def store() -> Path:
    """The store of this test session; `make test` sets it, so that the converter environment is made once."""
    return Path(os.environ.get("PHI4_EDGE_STORE", Path(__file__).parents[2] / "build" / "store")).resolve()


@pytest.fixture(scope="session")
def cli(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(store, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab_room.Lab]:
    """Three gateways with different amounts of RAM."""
    name = f"e2e-{os.getpid()}"
    profiles = lab_room.load_profiles()
    made = lab_room.up(name, [profiles.get(host) for host in HOSTS])
    yield made
    lab_room.down(name)


@pytest.fixture(scope="session")
def gateways(lab: lab_room.Lab) -> list[Gateway]:
    return [Gateway(lab, host.name) for host in lab.hosts]


@pytest.fixture(scope="session")
def ready(cli: Cli) -> Cli:
    """The command, with the tiny model in its store."""
    cli.run("model", "tiny", timeout=1800).expect(0)
    return cli


@pytest.fixture(scope="session")
def fleets(ready: Cli) -> Iterator[Fleets]:
    """Gateways that serve, for all files that are not about how they came to."""
    found = Fleets(ready)
    yield found
    found.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed end-to-end test shows what the hosts' own logs say."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    gateways = getattr(item, "funcargs", {}).get("gateways")
    if report.when == "call" and report.failed and gateways:
        for gateway in gateways:
            report.sections.append((f"journal of {gateway.name}", gateway.journal()))
