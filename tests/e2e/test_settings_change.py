"""A change of settings over a session of ours and through Ansible: both leave the same on a host, however it ends."""

from __future__ import annotations

import json
import re
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
    """One run over both hosts: the result of each, and the tasks that it shows."""
    done = pair.run("provision", "--yes", "--output", "json", *words)
    tasks: dict[str, set[str]] = {name: set() for name in pair.names}
    for line in map(json.loads, done.out.splitlines()):
        if line["event"] == "step":
            tasks[line["host"]].add(line["task"])
    return {host["host"]: host for host in done.result["hosts"]}, tasks


def alike(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What both results say; they differ in nothing else than who, and how long it took."""
    first, second = ({k: v for k, v in results[name].items() if k not in ("host", "seconds")} for name in results)
    assert first == second
    return first


def test_both_leave_the_same_in_one_run(pair: Fleet) -> None:
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


@pytest.mark.parametrize("boundary", rows(BOUNDARIES, ("stage:after", "switch:after", "commit:before")))
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
    """`--diff` shows the same lines for both; the record of the rollout has the steps of both."""
    pair.next_release()
    done = pair.run("provision", "--yes", "--diff")
    done.expect(0)
    shown = [line for line in (done.out + done.err).splitlines() if f'PHI4_CONTEXT_LENGTH="{pair.context}"' in line]
    assert len(shown) == 2, done.out
