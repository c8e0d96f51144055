"""The way of an operator: plan file, canary and waves, the record, rollback, the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet, Fleets
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def three(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("commands")
    with fleets.lend(folder, 3) as found:
        yield found


@pytest.fixture
def gateways(three: Fleet) -> list[Gateway]:
    return [three.host(name) for name in three.names]


def reviewed(three: Fleet) -> str:
    """Path of a plan of the next release, as an operator keeps it for review."""
    three.next_release()
    path = three.folder / f"plan-{three.context}.json"
    path.write_text(three.run("plan", "--output", "json").expect(0).out)
    return str(path)


def test_a_reviewed_plan_is_refused_when_the_inventory_changed(three: Fleet) -> None:
    path, before = reviewed(three), three.mark(three.names)
    three.next_release()
    done = three.run("provision", "--plan", path, "--yes").expect(3)
    assert "gw1" in done.out + done.err
    assert {name: three.trace(name) for name in three.names} == before


def test_a_reviewed_plan_is_refused_when_a_host_changed(three: Fleet) -> None:
    path = reviewed(three)
    three.host("gw2").sh("echo '# edited' >> /etc/systemd/system/phi4-edge.service")
    before = three.mark(three.names)
    done = three.run("provision", "--plan", path, "--yes").expect(3)
    assert "gw2" in done.out + done.err
    assert {name: three.trace(name) for name in three.names} == before


def test_a_reviewed_plan_is_applied_as_it_is(three: Fleet) -> None:
    path = reviewed(three)
    wanted = {plan["host"]: plan["release"] for plan in json.loads(Path(path).read_text())["plans"]}
    three.run("provision", "--plan", path, "--yes", "--bake", "2").expect(0)
    assert three.releases() == wanted


def test_waves_begin_with_a_canary_and_are_on_record(three: Fleet) -> None:
    three.next_release()
    done = three.run("provision", "--yes", "--output", "json", "--wave", "100%", "--bake", "3").expect(0)
    events = [json.loads(line) for line in done.out.splitlines()]
    waves = next(event["waves"] for event in events if event["event"] == "rollout")
    assert [wave["hosts"] for wave in waves] == [["gw1"], ["gw2", "gw3"]]
    order = [event["event"] for event in events if event["event"] in ("wave", "bake", "host")]
    assert order == ["wave", "host", "bake", "wave", "host", "host"]
    shown = json.loads(three.run_id("show", done.result["rollout"]))
    assert shown["state"] == "done"
    assert {host["host"]: host["outcome"] for host in shown["hosts"]} == dict.fromkeys(three.names, "done")
    assert done.result["rollout"] in three.cli.run("rollout", "list").expect(0).out
    page = three.folder / "report.html"
    three.cli.run("report", "last", "-o", page).expect(0)
    assert "gw3" in page.read_text()


def test_rollback_and_forth(three: Fleet) -> None:
    now = three.releases()
    was = {name: str(three.host(name).receipt()["previous_release"]) for name in three.names}
    three.run("rollback", "--to", "r-000000000000", "--yes").expect(4)
    assert three.releases() == now
    three.run("rollback", "--yes").expect(0)
    assert three.releases() == was == {name: three.serving(name) for name in three.names}
    three.run("rollback", "--to", now["gw1"], "--yes", "--limit", "gw1").expect(0)
    assert three.serving("gw1") == now["gw1"]
    three.run("provision", "--yes").expect(0)
    assert three.releases() == now
