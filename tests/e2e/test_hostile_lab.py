"""Gateways beside one were taken over: what root of them answers stays there, in every command, over real SSH.

The innocent gateway ends as it should, the controller is untouched, and the message names the host. The long table,
every operation and behaviour, is in tests/hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.e2e.fleet import Fleets, rows
from tests.e2e.gateway import ALL_AT_ONCE
from tests.e2e.hostile_site import EVIL, INNOCENT, Ran, Site, answers

pytestmark = pytest.mark.e2e

TAKE, RELEASE = "lock/lock/take", "lock/lock/release"
HOLDER = {
    "id": "run-1", "user": "boss", "host": "hq", "pid": 1, "operation": "provision", "version": "0.1.0",
    "started": "2026-11-28T00:00:00Z", "age": 1.0, "left": 29.0, "state": "held", "present": True,
}  # fmt: skip
OURS = "found an invalid answer"
FIRST = EVIL[0]


@pytest.fixture(scope="module")
def site(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    with fleets.lend(folder, 1 + len(EVIL)) as found:
        made = Site(found, folder)
        made.prepare()
        yield made


@pytest.fixture(autouse=True)
def honest_again(site: Site) -> Iterator[None]:
    yield
    site.all_honest()


def payload(site: Site, target: str, *keys: str) -> dict[str, Any]:
    """These reserved keys, as a payload."""
    row = site.row("lab", target)
    return {key: answers.RESERVED[key](row) for key in keys}


def rce(site: Site, target: str, name: str = FIRST) -> dict[str, Any]:
    """An evil gateway becomes the controller, on which its Python is a command."""
    variables = answers.local(site.row("rce", target))
    return {"changed": True, "add_host": {"host_name": name, "host_vars": variables}}


def impersonating(site: Site, _target: str, name: str) -> dict[str, Any]:
    """The innocent gateway is to be the evil one."""
    address = site.fleet.lab.host(name).address
    return {"changed": True, "add_host": {"host_name": INNOCENT, "host_vars": {"ansible_host": address}}}


def provisioned(site: Site, evil: Sequence[str], *words: str, timeout: float = 240, stop: bool = False) -> Ran:
    """A new release for it and these; the innocent one has it and serves it, and the controller is unharmed."""
    before = site.fleet.releases()[INNOCENT]
    site.fleet.next_release()
    options = ("--yes", *ALL_AT_ONCE, *words, "--output", "json")
    ran = site.command("provision", *options, evil=evil, timeout=timeout, stop=stop)
    assert all(site.asked(name) for name in evil)
    site.unharmed(ran)
    if not stop:
        assert ran.host(INNOCENT)["outcome"] == "done", ran.out[-3000:]
        assert site.fleet.releases()[INNOCENT] != before
        assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]
    return ran


def facts(site: Site, target: str, _name: str) -> dict[str, Any]:
    return payload(site, target, "ansible_facts", "ansible_stats", "_ansible_notify")


# What an evil gateway answers: where, and a payload or a behaviour of the long table.
FALSE: dict[str, tuple[str, Callable[[Site, str, str], dict[str, Any]] | str]] = {
    "commands on the controller, at the lock": (TAKE, rce),
    "commands on the controller, at the switch": ("series", rce),
    "the name of the other, at the artifact": ("artifact/push/survey", impersonating),
    "the name of the other, at the probe": ("probe/probe/probe", impersonating),
    "facts, statistics and a handler that nobody has": ("series", facts),
    "no key": (TAKE, "no key"),
    "other types": ("artifact/push/survey", "other types"),
    "escape codes": ("series", "escape codes"),
}
EVERY = tuple(FALSE)
TOGETHER = (
    tuple(EVERY[at] for at in (0, 2, 5)),
    tuple(EVERY[at] for at in (1, 3, 4)),
    tuple(EVERY[at] for at in (6, 7)),
)


@pytest.mark.parametrize("names", rows([(names,) for names in TOGETHER], {(TOGETHER[0],)}), ids=", ".join)
def test_false_answers_do_nothing_and_are_told_as_what_they_are(site: Site, names: tuple[str, ...]) -> None:
    """Each on a host of its own, in one run."""
    evil = EVIL[: len(names)]
    for host, name in zip(evil, names, strict=True):
        target, how = FALSE[name]
        if target.startswith("artifact"):  # a release that differs in settings alone needs nothing delivered
            site.fleet.host(host).sh("rm -f /opt/phi4-edge/current/model/tokenizer_config.json")
        if isinstance(how, str):
            site.behave(host, how, target)
        else:
            site.behave(host, "", target, how(site, target, host))
    ran = provisioned(site, evil)
    assert ran.code == 4
    for host, name in zip(evil, names, strict=True):
        if name != "escape codes":  # words for people are made harmless and may stand
            assert ran.host(host)["outcome"] not in ("done", "unchanged"), name
            assert OURS in str(ran.host(host)["reason"]), (name, ran.host(host))


@pytest.mark.full
def test_a_flood_at_the_lock_ends_at_the_bound_and_a_lock_is_the_word_of_its_host_alone(site: Site) -> None:
    flooding, held = EVIL[:2]
    site.behave(flooding, "flood", TAKE)
    site.behave(held, "", TAKE, {"state": "held", "holder": HOLDER, "waited": 0.0}, instead=True)
    ran = provisioned(site, (flooding, held))
    assert ran.code in (4, 6)
    assert ran.host(flooding)["outcome"] == "failed"
    assert ran.seconds < 200
    assert ran.host(held)["outcome"] == "locked"
    assert "boss@hq" in str(ran.host(held))
    assert not [host for host in (INNOCENT, flooding) if "boss@hq" in str(ran.host(host))]


def test_an_interrupted_run_does_not_wait_for_a_flood(site: Site) -> None:
    site.behave(FIRST, "drip", "series")  # what takes its lock over a session, where settings alone change
    ran = provisioned(site, [FIRST], stop=True)
    assert ran.code in (130, 143)
    assert ran.stopped < 40  # the lock is asked back, with a deadline of 10 s


@pytest.mark.full
def test_silence_when_the_lock_is_given_back_holds_nobody_up(site: Site) -> None:
    site.behave(FIRST, "silence", RELEASE)
    ran = provisioned(site, [FIRST])
    assert ran.seconds < 150


@pytest.mark.full
def test_check_mode_believes_no_more(site: Site) -> None:
    site.behave(FIRST, "", "service/release/stage", rce(site, "service/release/stage"))
    site.fleet.next_release()
    before = site.fleet.releases()
    ran = site.command("provision", "--yes", "--check", "--output", "json")
    assert site.asked(FIRST)
    site.unharmed(ran)
    assert ran.code == 4
    assert ran.host(INNOCENT)["outcome"] not in ("failed", "unreachable"), ran.out[-2000:]
    assert site.fleet.releases() == before


def test_a_drip_in_the_preflight_delays_nobody(site: Site) -> None:
    site.behave(FIRST, "drip", "preflight")
    ran = site.command("plan", "--output", "json", timeout=90)
    site.unharmed(ran)
    assert ran.seconds < 45
    assert INNOCENT in ran.out


@pytest.mark.full
def test_a_worker_believes_no_more(site: Site) -> None:
    site.behave(FIRST, "", TAKE, rce(site, TAKE))
    ran = provisioned(site, [FIRST], "--worker", "nearby")
    assert ran.code == 4
    assert OURS in ran.out


@pytest.mark.full
def test_the_plain_playbook_believes_no_more(site: Site) -> None:
    site.behave(FIRST, "", "*", rce(site, "any"))
    before = site.fleet.releases()[INNOCENT]
    site.fleet.next_release()
    ran = site.playbook("provision")
    assert site.asked(FIRST)
    site.unharmed(ran)
    assert ran.code == 2
    assert OURS in " ".join(ran.out.split())
    assert site.fleet.releases()[INNOCENT] != before
    assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]


@pytest.mark.full
def test_going_back_believes_no_more(site: Site) -> None:
    site.fleet.next_release()  # the evil gateway needs a release to go back to
    site.fleet.run("provision", "--yes", *ALL_AT_ONCE, "--limit", f"{INNOCENT},{FIRST}").expect(0)
    site.behave(FIRST, "", "service/release/previous", rce(site, "previous"))
    before = site.fleet.releases()[INNOCENT]
    ran = site.command("rollback", "--yes", "--output", "json")
    assert site.asked(FIRST)
    site.unharmed(ran)
    assert ran.code == 4
    assert OURS in ran.out
    assert site.fleet.releases()[INNOCENT] != before
    assert site.fleet.serving(INNOCENT) == site.fleet.releases()[INNOCENT]


@pytest.mark.full
def test_removal_believes_no_more(site: Site) -> None:
    site.behave(FIRST, "", "service/release/remove", rce(site, "remove"))
    ran = site.command("remove", "--yes", "--output", "json")
    assert site.asked(FIRST)
    site.unharmed(ran)
    assert ran.code == 4
    assert OURS in ran.out
    assert site.fleet.host(INNOCENT).sh("ls /opt/phi4-edge /var/lib/phi4-edge 2>/dev/null; true") == ""
