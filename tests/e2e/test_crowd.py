"""`status` of forty hosts of which four are dead, slow or hostile: every row is right, and nobody waits for the four.

The same with a thousand is a benchmark (benchmarks/bench_fleet.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab.model import Lab
from tests.e2e import crowd
from tests.e2e.gateway import Cli, Gateway

pytestmark = pytest.mark.e2e

COUNT, KINDS = 40, ("closed", "drip", "flood", "wrong key")
# Half a minute on a machine at rest; a host that holds the others would do so for longer than this.
MOST_SECONDS = 300.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two gateways on which nothing was installed."""
    name = f"crowd-{os.getpid()}"
    made = lab_room.up(name, lab_room.load_profiles().choose(["gateway-6gb"] * 2))
    yield made
    lab_room.down(name)


def test_every_row_is_right(pair: Lab, cli: Cli, tmp_path: Path) -> None:
    addresses = crowd.plan(pair, COUNT, len(KINDS), KINDS)
    assert sorted(one.kind for one in addresses if one.kind != crowd.GOOD) == sorted(KINDS)
    with crowd.crowd(pair, addresses, lambda name, script: Gateway(pair, name).sh(script)):
        inventory = crowd.inventory(pair, addresses, tmp_path / "crowd.ini")
        done = cli.run("status", inventory, "--output", "json", timeout=MOST_SECONDS).expect(5)
    document = json.loads(done.out)
    looked_at = {host["host"] for host in document["hosts"]}
    problems = {line["host"]: line["reason"] for line in document["problems"]}
    assert crowd.wrong_rows(addresses, looked_at, problems) == []
    # Where we do not get in, and where we do and nothing can be done there.
    kinds = {one.name: one.kind for one in addresses}
    outcomes = {kinds[line["host"]]: line["outcome"] for line in document["problems"]}
    assert outcomes == {kind: "preflight" if kind == "flood" else "unreachable" for kind in KINDS}
    assert {host["state"] for host in document["hosts"]} == {"absent"}


def test_wrong_rows_are_seen(pair: Lab) -> None:
    addresses = crowd.plan(pair, 10, 1, ("closed",))
    good = {one.name for one in addresses if one.kind == crowd.GOOD}
    bad = next(one.name for one in addresses if one.kind != crowd.GOOD)
    right = {bad: "found no way to it (Connection refused)"}
    assert crowd.wrong_rows(addresses, good, right) == []
    for looked_at, problems in (
        (good - {min(good)}, right),
        (good | {bad}, {}),
        (good, {bad: "the host key has changed"}),
        (good, {**right, min(good): "timed out"}),
        (good | {"stranger"}, right),
    ):
        assert len(crowd.wrong_rows(addresses, looked_at, problems)) == 1
