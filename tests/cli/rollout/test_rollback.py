"""`rollback` as an operator calls it."""

from __future__ import annotations

import json

from phi4_edge.core.facts.receipt import FORMAT
from tests.cli.rollout.played_site import HOSTS, Site, outcomes, press_in, result
from tests.unit.rollout.fake_executor import FakeExecutor


def receipt(release: str, previous: str) -> dict[str, str]:
    """What the probe tells of a host that serves `release`."""
    told = {
        "present": True,
        "receipt": {"format": FORMAT, "release": release, "previous_release": previous, "engine": "onnx"},
    }
    return {"receipt": json.dumps(told)}


def test_rollback_names_the_release_of_every_host(site: Site) -> None:
    site.sources = {
        "gw1": receipt("r-bbbbbbbbbbbb", "r-aaaaaaaaaaaa"),
        "gw2": receipt("r-cccccccccccc", ""),
        "gw4": receipt("r-dddddddddddd", "r-aaaaaaaaaaaa"),
    }
    found = site.run("rollback", "--output", "json")
    assert found.exit_code == 3
    targets = {"gw1": "r-aaaaaaaaaaaa", "gw4": "r-aaaaaaaaaaaa"}
    assert [(call.playbook, hosts) for call, hosts in site.fake.calls] == [("rollback", ("gw1", "gw4"))]
    assert site.fake.calls[0][0].extra_vars["service_rollback_to"] == targets
    assert outcomes(found) == {
        "gw1": "done",
        "gw2": "preflight",
        "gw3": "preflight",
        "gw4": "done",
        "gw5": "preflight",
    }


def test_a_resumed_rollback_goes_where_it_was_going(site: Site) -> None:
    site.sources = dict.fromkeys(HOSTS, receipt("r-bbbbbbbbbbbb", "r-aaaaaaaaaaaa"))
    site.fake = press_in("rollback", "gw2")
    first = site.run("rollback", "--output", "json")
    assert first.exit_code == 130
    # gw2 went back after all, and nobody on the controller heard of it.
    site.sources["gw2"] = receipt("r-aaaaaaaaaaaa", "r-bbbbbbbbbbbb")
    site.fake = FakeExecutor()
    found = site.run("rollback", "--resume", "--output", "json")
    assert found.exit_code == 0
    wanted = dict.fromkeys(HOSTS[1:], "r-aaaaaaaaaaaa")
    assert site.fake.calls[0][0].extra_vars["service_rollback_to"] == wanted
    assert outcomes(found)["gw1"] == "done"


def test_a_release_that_is_none_is_refused(site: Site) -> None:
    found = site.run("rollback", "--to", "latest")
    assert found.exit_code == 1
    assert "needed a release such as r-175772f43a53" in found.stderr


def test_what_to_do_next_never_takes_hosts_forth_again(site: Site) -> None:
    site.sources = dict.fromkeys(HOSTS, receipt("r-bbbbbbbbbbbb", "r-aaaaaaaaaaaa"))
    site.fake = FakeExecutor({"rollback": {"gw2": "failed", "gw3": "unreachable", "gw4": "locked"}})
    found = site.run("rollback", "--output", "json")
    assert found.exit_code == 4
    steps = {host["host"]: host["next_step"] for host in result(found)["hosts"] if host["next_step"]}
    assert set(steps) == {"gw2", "gw3", "gw4"}
    assert all("again with --resume" in step for step in steps.values())
