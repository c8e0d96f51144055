"""One gateway of two was taken over: what root of it answers stays there, in every command, over real SSH.

The innocent gateway ends as it should, the controller is untouched, and the message names the host. The long table,
every operation and behaviour, is in tests/hostile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.fleet import fleet, rows
from tests.e2e.gateway import ALL_AT_ONCE, Cli
from tests.e2e.hostile_site import EVIL, INNOCENT, Ran, Site, answers

pytestmark = pytest.mark.e2e

TAKE, RELEASE = "lock/lock/take", "lock/lock/release"
HOLDER = {
    "id": "run-1", "user": "boss", "host": "hq", "pid": 1, "operation": "provision", "version": "0.1.0",
    "started": "2026-11-28T00:00:00Z", "age": 1.0, "left": 29.0, "state": "held", "present": True,
}  # fmt: skip
OURS = "found an invalid answer"


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    with fleet(ready, folder, f"hostile-{os.getpid()}", ["gateway-6gb"] * 2) as found:
        made = Site(found, folder)
        made.prepare()
        yield made


@pytest.fixture(autouse=True)
def honest_again(site: Site) -> Iterator[None]:
    yield
    site.behave("honest", "*")


def payload(site: Site, target: str, *keys: str) -> dict[str, Any]:
    """These reserved keys, as a payload."""
    row = site.row("lab", target)
    return {key: answers.RESERVED[key](row) for key in keys}


def rce(site: Site, target: str) -> dict[str, Any]:
    """The evil gateway becomes the controller, on which its Python is a command."""
    variables = answers.local(site.row("rce", target))
    return {"changed": True, "add_host": {"host_name": EVIL, "host_vars": variables}}


def impersonating(site: Site, _target: str) -> dict[str, Any]:
    """The innocent gateway is to be the evil one."""
    address = site.fleet.lab.host(EVIL).address
    return {"changed": True, "add_host": {"host_name": INNOCENT, "host_vars": {"ansible_host": address}}}


def provisioned(site: Site, *words: str, timeout: float = 240, stop: bool = False) -> Ran:
    """A new release for both; the innocent one has it and serves it, and the controller is unharmed."""
    before = site.fleet.releases()[INNOCENT]
    site.fleet.next_release()
    ran = site.command("provision", "--yes", *ALL_AT_ONCE, *words, "--output", "json", timeout=timeout, stop=stop)
    assert site.asked()
    site.unharmed(ran)
    if not stop:
        assert ran.host(INNOCENT)["outcome"] == "done", ran.out[-3000:]
        assert site.fleet.releases()[INNOCENT] != before
        assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]
    return ran


PAYLOADS = {
    "commands on the controller, at the lock": (TAKE, rce),
    "commands on the controller, at the switch": ("service/release/switch", rce),
    "the name of the other, at the artifact": ("artifact/push/survey", impersonating),
    "the name of the other, at the probe": ("probe/probe/probe", impersonating),
    "facts, statistics and a handler that nobody has": (
        "service/release/stage",
        lambda site, target: payload(site, target, "ansible_facts", "ansible_stats", "_ansible_notify"),
    ),
}


ALWAYS = {"commands on the controller, at the lock", "the name of the other, at the artifact", "no key"}


@pytest.mark.parametrize("name", rows(tuple(PAYLOADS), ALWAYS))
def test_reserved_keys_do_nothing(site: Site, name: str) -> None:
    target, make = PAYLOADS[name]
    site.behave("", target, make(site, target))
    ran = provisioned(site)
    assert ran.code != 0
    assert ran.host(EVIL)["outcome"] not in ("done", "unchanged")
    assert OURS in ran.out, ran.out[-2000:]


MALFORMED = {"no key": TAKE, "other types": "artifact/push/survey", "escape codes": "receipt/receipt/commit"}


@pytest.mark.parametrize("behaviour", rows(tuple(MALFORMED), ALWAYS))
def test_a_malformed_answer_is_told_as_what_it_is(site: Site, behaviour: str) -> None:
    site.behave(behaviour, MALFORMED[behaviour])
    ran = provisioned(site)
    if behaviour != "escape codes":  # words for people are made harmless and may stand
        assert ran.code == 4
        assert OURS in ran.out, ran.out[-2000:]


def test_a_flood_at_the_lock_ends_at_the_bound(site: Site) -> None:
    site.behave("flood", TAKE)
    ran = provisioned(site)
    assert ran.code == 4
    assert ran.seconds < 200


def test_an_interrupted_run_does_not_wait_for_a_flood(site: Site) -> None:
    site.behave("drip", "lock")
    ran = provisioned(site, stop=True)
    assert ran.code in (130, 143)
    assert ran.stopped < 40  # the lock is asked back, with a deadline of 10 s


@pytest.mark.full
def test_silence_when_the_lock_is_given_back_holds_nobody_up(site: Site) -> None:
    site.behave("silence", RELEASE)
    ran = provisioned(site)
    assert ran.seconds < 150


def test_a_lock_is_the_word_of_its_host_alone(site: Site) -> None:
    site.behave("", TAKE, {"state": "held", "holder": HOLDER, "waited": 0.0}, instead=True)
    ran = provisioned(site)
    assert ran.code in (4, 6)
    assert "boss@hq" in str(ran.host(EVIL))
    assert "boss@hq" not in str(ran.host(INNOCENT))


def test_check_mode_believes_no_more(site: Site) -> None:
    site.behave("", "service/release/stage", rce(site, "service/release/stage"))
    site.fleet.next_release()
    before = site.fleet.releases()
    ran = site.command("provision", "--yes", "--check", "--output", "json")
    assert site.asked()
    site.unharmed(ran)
    assert ran.code == 4
    assert ran.host(INNOCENT)["outcome"] not in ("failed", "unreachable"), ran.out[-2000:]
    assert site.fleet.releases() == before


def test_a_drip_in_the_preflight_delays_nobody(site: Site) -> None:
    site.behave("drip", "preflight")
    ran = site.command("plan", "--output", "json", timeout=90)
    site.unharmed(ran)
    assert ran.seconds < 45
    assert INNOCENT in ran.out


def test_a_worker_believes_no_more(site: Site) -> None:
    site.behave("", TAKE, rce(site, TAKE))
    ran = provisioned(site, "--worker", "nearby")
    assert ran.code == 4
    assert OURS in ran.out


def test_the_plain_playbook_believes_no_more(site: Site) -> None:
    site.behave("", "*", rce(site, "any"))
    before = site.fleet.releases()[INNOCENT]
    site.fleet.next_release()
    ran = site.playbook("provision")
    assert site.asked()
    site.unharmed(ran)
    assert ran.code == 2
    assert OURS in " ".join(ran.out.split())
    assert site.fleet.releases()[INNOCENT] != before
    assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]


def test_going_back_believes_no_more(site: Site) -> None:
    for _ in range(2):  # the evil gateway needs a release to go back to
        site.fleet.next_release()
        site.fleet.run("provision", "--yes", *ALL_AT_ONCE).expect(0)
    site.behave("", "service/release/previous", rce(site, "previous"))
    before = site.fleet.releases()[INNOCENT]
    ran = site.command("rollback", "--yes", "--output", "json")
    assert site.asked()
    site.unharmed(ran)
    assert ran.code == 4
    assert OURS in ran.out
    assert site.fleet.releases()[INNOCENT] != before
    assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]


def test_removal_believes_no_more(site: Site) -> None:
    site.behave("", "service/release/remove", rce(site, "remove"))
    ran = site.command("remove", "--yes", "--output", "json")
    assert site.asked()
    site.unharmed(ran)
    assert ran.code == 4
    assert OURS in ran.out
    assert site.fleet.host(INNOCENT).sh("ls /opt/phi4-edge /var/lib/phi4-edge 2>/dev/null; true") == ""
