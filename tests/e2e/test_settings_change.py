"""A change of settings over a session of ours and through Ansible: both leave the same on a host, however it ends.

And what becomes of one over a session when the controller is killed, the power is cut, or somebody presses Ctrl-C.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.fleet import Fleet, Fleets, rows
from tests.e2e.gateway import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

OWN, ANSIBLE = "gw1", "gw2"
# A variable of a role that only the role reads.
THROUGH_ANSIBLE = {"lock_skip": "false"}
BOUNDARIES = (
    "stage:before", "stage:after", "verify:after", "switch:before", "switch:after", "probe:before", "commit:before",
    "commit:after",
)  # fmt: skip
TREE = (
    "find /opt/phi4-edge/releases /etc/systemd/system -printf '%P %y %m %U:%G %l\\n' | sort; "
    "find /opt/phi4-edge/releases -maxdepth 2 -type f ! -name plan.json -exec sha256sum {} + | sort; "
    "sha256sum /etc/systemd/system/phi4-edge*; "
    "for plan in /opt/phi4-edge/releases/*/plan.json; do grep -v '\"host\":' $plan; done"
)
# What two runs never have in common.
VARYING = re.compile(r'"(at|host|id|started|seconds|proof|committed_at|memory_bandwidth|seal)": ("[^"]*"|[0-9.e-]+)')


@pytest.fixture(scope="module")
def pair(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleets.lend(tmp_path_factory.mktemp("settings"), 2) as found:
        found.variables = {ANSIBLE: THROUGH_ANSIBLE}
        yield found


@pytest.fixture
def gateways(pair: Fleet) -> list[Gateway]:
    return [pair.host(name) for name in pair.names]


def left(host: Gateway) -> dict[str, str]:
    """What a run left on a host: files, what the receipt and the journal say, and no lock."""
    state = "/var/lib/phi4-edge"
    # No two files have the same time and inode, and the plan that a release keeps has the host's name.
    receipt, journal = (json.loads(host.sh(f"cat {state}/{name}.json")) for name in ("receipt", "journal"))
    named = {file["path"]: file["sha256"] for file in receipt["files"] if not file["path"].endswith("/plan.json")}
    receipt.pop("memory_bandwidth", None)  # a host that was busy when it was first looked at has none
    receipt["files"] = [{**file, "stamp": 0, "sha256": named.get(file["path"])} for file in receipt["files"]]
    journal["records"] = journal["records"][-1 - _begun(journal["records"]) :]
    shown = {name: json.dumps(said, sort_keys=True, indent=1) for name, said in (("r", receipt), ("j", journal))}
    return {
        "files": host.sh(TREE),
        **{name: VARYING.sub(r'"\1"', text) for name, text in shown.items()},
        "lock": host.sh(f"ls {state}/lock", code=None),
        "units": host.sh("systemctl is-active phi4-edge.service phi4-edge-rehearsal.service", code=None),
    }


def _begun(records: list[dict[str, Any]]) -> int:
    """Records behind the first one of the last run."""
    last = records[-1]["id"]
    return sum(1 for record in records if record["id"] == last) - 1


def both(pair: Fleet, *words: str) -> tuple[dict[str, dict[str, Any]], dict[str, set[str]]]:
    """A run over each host, as one that is Ansible's makes all of a wave so: its result, and the tasks it shows."""
    results, tasks = dict[str, dict[str, Any]](), dict[str, set[str]]()
    for name in pair.names:
        done = pair.run("provision", "--yes", "--output", "json", "--limit", name, *words)
        steps = [line for line in map(json.loads, done.out.splitlines()) if line["event"] == "step"]
        tasks[name] = {str(line["task"]) for line in steps}
        (results[name],) = done.result["hosts"]
    return results, tasks


def alike(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What both results say; they differ in nothing else than who, and how long it took."""
    first, second = ({k: v for k, v in results[name].items() if k not in ("host", "seconds")} for name in results)
    assert first == second
    return first


def test_both_leave_the_same(pair: Fleet) -> None:
    pair.next_release()
    results, tasks = both(pair)
    assert "Take the lock of the host" in tasks[OWN]
    assert not tasks[OWN] & {"Take the lock of the first host", "Decide what this host shall run"}
    assert "Decide what this host shall run" in tasks[ANSIBLE]
    assert alike(results)["outcome"] == "done"
    assert left(pair.host(OWN)) == left(pair.host(ANSIBLE))
    assert {pair.serving(name) for name in pair.names} == set(pair.releases().values())
    again = pair.run("provision", "--yes", "--output", "json").expect(0).result
    assert (again["changed"], again["counts"]) == (0, {"unchanged": 2})


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ()))
def test_a_step_that_fails_ends_in_the_same_way(pair: Fleet, boundary: str) -> None:
    before = {name: pair.serving(name) for name in pair.names}
    pair.next_release()
    for name in pair.names:
        pair.hook(name, boundary, "fail")
    try:
        results, _ = both(pair)
    finally:
        pair.unhook(pair.names)
    found = alike(results)
    assert found["outcome"] in ("failed", "rolled_back")
    assert f"made {boundary} fail" in found["reason"]
    assert left(pair.host(OWN)) == left(pair.host(ANSIBLE))
    now = {name: pair.serving(name) for name in pair.names}
    assert now == pair.releases()
    assert boundary == "commit:after" or now == before
    results, _ = both(pair)
    assert alike(results)["outcome"] in ("done", "unchanged")
    assert left(pair.host(OWN))["files"] == left(pair.host(ANSIBLE))["files"]


def test_what_changes_is_shown(pair: Fleet) -> None:
    """`--diff` shows the same lines for both."""
    pair.next_release()
    for name in pair.names:
        done = pair.run("provision", "--yes", "--diff", "--limit", name).expect(0)
        shown = [line for line in (done.out + done.err).splitlines() if f'PHI4_CONTEXT_LENGTH="{pair.context}"' in line]
        assert len(shown) == 1, done.out


@pytest.fixture
def own(pair: Fleet) -> Iterator[Fleet]:
    """Both hosts over sessions, on the way to a release that they never had."""
    pair.variables = {}
    pair.next_release()
    yield pair
    pair.unhook(pair.names)
    pair.variables = {ANSIBLE: THROUGH_ANSIBLE}


def converges(fleet: Fleet, served: dict[str, str]) -> None:
    """The same command again brings both hosts to the wanted release, and finds nothing to do after that."""
    done = fleet.run("provision", "--yes", "--output", "json").expect(0)
    assert set(done.outcomes().values()) <= {"done", "unchanged"}
    now = {name: fleet.serving(name) for name in fleet.names}
    assert now == fleet.releases()
    assert not set(now.items()) & set(served.items())
    assert fleet.run("provision", "--yes", "--output", "json").expect(0).outcomes() == dict.fromkeys(now, "unchanged")


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ()))
def test_a_controller_that_is_killed_leaves_what_the_next_run_finishes(own: Fleet, boundary: str) -> None:
    served = own.releases()
    for name in own.names:
        own.hook(name, boundary, "wait")
    process = own.cli.start("provision", *own.inventories, "--yes")
    try:
        own.await_hooks(own.names)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    own.unhook(own.names)
    converges(own, served)


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ()))
def test_a_host_whose_power_is_cut_is_unreachable_and_serves_when_it_is_back(own: Fleet, boundary: str) -> None:
    served = own.releases()
    for name in own.names:
        own.hook(name, boundary, "wait")
    with own.cut_at(own.names):
        done = own.run("provision", "--yes", "--output", "json").expect(5)
    assert set(done.outcomes().values()) == {"unreachable"}
    for name in own.names:
        assert own.serving(name)
    converges(own, served)


@pytest.mark.parametrize("boundary", rows(("stage:before", "switch:after"), ()))
def test_after_ctrl_c_the_host_that_is_changed_is_let_through_and_no_other_begins(own: Fleet, boundary: str) -> None:
    """One host at a time: the second one is not begun."""
    served = own.releases()
    own.hook(OWN, boundary, "wait")
    process = own.cli.start("provision", *own.inventories, "--yes", "--output", "json", "--forks", "1")
    try:
        own.await_hooks([OWN])
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1)
        own.unhook([OWN])
    finally:
        out = process.communicate(timeout=120)[0]
    assert process.returncode == 130, out
    results = {host["host"]: host for host in json.loads(out.splitlines()[-1])["hosts"]}
    assert results[ANSIBLE]["outcome"] == "untouched"
    assert own.serving(ANSIBLE) == served[ANSIBLE]
    assert results[OWN]["outcome"] == "done"
    converges(own, served)
