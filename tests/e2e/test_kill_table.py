"""The kill table: at every boundary between two steps of a host, for each engine, one of three things goes wrong.

The controller is killed, the host's power is cut, or the step fails. Run again: the hosts converge, and after that no
host that served before is without a service. The model is the state test of Mender (33 kills, 33 errors).
vLLM, which takes minutes to start, goes the same way as Ollama under Compose and is left out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.fleet import Fleet, rows
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import ACCEPTED, open_site, own_store

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

# Ansible runs the same task on all hosts at a time, and the first one of an engine is not that of another: at the first
# boundary the hosts do not wait together, so it is there when one of them is.
APART = "stage:before"
BOUNDARIES = (APART, "verify:before", "switch:before", "switch:after", "commit:before", "commit:after")
OLLAMA = {"phi4_engine": "ollama", "phi4_quantization": "q4_0"}
ENGINES = {
    "gw1": {"phi4_engine": "onnx"},
    "gw2": OLLAMA,
    "gw3": {**OLLAMA, "phi4_service_manager": "compose"},
}


@pytest.fixture(scope="module")
def table(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("kill")
    profiles = lab_room.load_profiles().choose(("gateway-6gb",) * 3)
    name = f"kill-{os.getpid()}"
    made = lab_room.up(name, profiles, kind=("bare", "bare", "docker"), with_mirror=True)
    try:
        site = open_site(made, own_store(ready.store, folder / "store"), folder)
        mirror = {"phi4_image_mirror": f"http://{lab_room.mirror.registry(made)}"}
        common = {**ACCEPTED, **mirror}
        found = Fleet(made, site.cli, folder, {host: {**common, **wanted} for host, wanted in ENGINES.items()})
        found.write()
        warm_engine.bring(ready, made, "gw1")
        found.run("provision", "--yes").expect(0)
        yield found
    finally:
        lab_room.down(name)


@pytest.fixture
def gateways(table: Fleet) -> list[Gateway]:
    return [table.host(name) for name in table.names]


@pytest.fixture
def served(table: Fleet) -> dict[str, str]:
    """What serves before the next case; every case begins with a release that the hosts never had."""
    found = {name: table.serving(name) for name in table.names}
    assert found == table.releases()
    table.next_release()
    return found


def set_hooks(table: Fleet, at: str, do: str) -> None:
    for name in table.names:
        table.hook(name, at, do)


def converges(table: Fleet, served: dict[str, str]) -> None:
    """The same command again brings every host to the release that was wanted; a third finds nothing to do."""
    done = table.run("provision", "--yes", "--output", "json").expect(0)
    assert set(done.outcomes().values()) <= {"done", "unchanged"}
    now = {name: table.serving(name) for name in table.names}
    assert now == table.releases()
    assert not set(now.items()) & set(served.items())
    again = table.run("provision", "--yes", "--output", "json").expect(0).result
    assert (again["changed"], again["counts"]) == (0, {"unchanged": len(table.names)})


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ()))
def test_the_controller_is_killed(table: Fleet, served: dict[str, str], boundary: str) -> None:
    set_hooks(table, boundary, "wait")
    process = table.cli.start("provision", *table.inventories, "--yes")
    try:
        table.await_hooks(table.names, first=boundary == APART)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
    table.unhook(table.names)
    assert process.returncode == -signal.SIGKILL, said
    converges(table, served)


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ("switch:after",)))
def test_the_power_of_every_host_is_cut(table: Fleet, served: dict[str, str], boundary: str) -> None:
    set_hooks(table, boundary, "wait")
    with table.cut_at(table.names, first=boundary == APART):
        done = table.run("provision", "--yes", "--output", "json").expect(5)
    assert set(done.outcomes().values()) == {"unreachable"}
    # Whatever the step was: a host that is back serves one of the two releases before anybody looks after it.
    for name in table.names:
        assert table.serving(name)
    converges(table, served)


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ()))
def test_the_step_fails(table: Fleet, served: dict[str, str], boundary: str) -> None:
    set_hooks(table, boundary, "fail")
    done = table.run("provision", "--yes", "--output", "json").expect(4)
    assert set(done.outcomes().values()) <= {"failed", "rolled_back"}
    now = {name: table.serving(name) for name in table.names}
    assert now == table.releases()
    if boundary != "commit:after":
        assert now == served
    table.unhook(table.names)
    converges(table, served)
