"""A host that is installed in another place than the one that its inventory says now."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge import data
from phi4_edge.core.facts import installed, parse
from phi4_edge.core.facts.status import Health, State, classify
from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.core.plan.decide import Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from tests.unit.core.fixture_hosts import read
from tests.unit.core.held import whole

THERE = Layout("/data/phi4", "/data/state")


def facts(text: str | None) -> Any:
    sources = dict(read("n150-8gb")["sources"])
    if text is not None:
        sources["installed"] = {"text": text}
    return parse.parse({**read("n150-8gb"), "sources": sources})


def planned(text: str | None) -> Plan:
    wishes = Overrides.from_vars("gw1", {})
    return decide(facts(text), data.load_table(), data.load_catalog(), wishes, whole({}, {}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("", None),
        ("/opt/phi4-edge /var/lib/phi4-edge", STANDARD),
        ("/opt/phi4-edge -", STANDARD),
        ("/data/phi4 /data/state", THERE),
        ("/data/phi4 -", Layout("/data/phi4", STANDARD.state)),
        ("/etc/phi4 /data/state", None),
        ("/data/{{ x }} /data/state", None),
        ("/data/phi4 /data/state /more", None),
        ("no path", None),
    ],
)
def test_what_the_probe_says_of_it(text: str | None, found: Layout | None) -> None:
    assert facts(text).installed == found


def test_a_place_that_not_every_user_gets_to_is_in_the_way() -> None:
    sources = {
        **read("n150-8gb")["sources"],
        "our_disk": {"text": "/opt/phi4-edge 0 closed\n/var/lib/phi4-edge 0 ours"},
    }
    seen = parse.parse({**read("n150-8gb"), "sources": sources})
    wishes = Overrides.from_vars("gw1", {})
    made = decide(seen, data.load_table(), data.load_catalog(), wishes, whole({}, {}))
    assert made.blockers == (
        "/opt/phi4-edge lies in a directory that not every user may pass, needed that all may, for the engine runs as "
        "one of its own: see which (namei -m /opt/phi4-edge), then sudo chmod o+x DIRECTORY",
    )


@pytest.mark.parametrize("text", [None, "/opt/phi4-edge /var/lib/phi4-edge", "/opt/phi4-edge -"])
def test_the_place_that_was_looked_at_is_no_matter(text: str | None) -> None:
    assert installed.misplaced(facts(text)) == ("", "")
    assert not any("installed with" in blocker for blocker in planned(text).blockers)


@pytest.mark.parametrize(
    ("text", "found", "needed"),
    [
        (
            "/data/phi4 /data/state", "phi4_root=/data/phi4 and phi4_state=/data/state",
            "phi4_root=/opt/phi4-edge and phi4_state=/var/lib/phi4-edge",
        ),
        ("/data/phi4 -", "phi4_root=/data/phi4", "phi4_root=/opt/phi4-edge"),
        ("/opt/phi4-edge /data/state", "phi4_state=/data/state", "phi4_state=/var/lib/phi4-edge"),
    ],
)  # fmt: skip
def test_another_place_is_in_the_way_and_named(text: str, found: str, needed: str) -> None:
    wrong = f"found what serves installed with {found}, needed {needed}"
    step = f"set {found} again, or remove it there first (phi4-edge remove with those values), then provision"
    assert installed.misplaced(facts(text)) == (wrong, step)
    made = planned(text)
    assert f"{wrong.removeprefix('found ')}: {step}" in made.blockers
    said = classify(facts(text), Health())
    assert (said.state, said.detail, said.next_step) == (State.ABSENT, wrong, step)
