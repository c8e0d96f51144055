"""What a rollout comes to, in words: the verdict, how far the harm went, what failed, what to run next."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core.rollout.outcome import BAD, GOOD, Outcome
from phi4_edge.data import SCHEMAS, schema
from phi4_edge.report import outcomes
from phi4_edge.report.rollout import next, story
from tests.unit.report.rollout.samples import documents


@pytest.mark.parametrize(
    ("document", "verdict", "tone"),
    [
        (documents.good(), "Done: 8 hosts, all good", "good"),
        (documents.contained(), "Stopped: 1 bad of 8 hosts, 0 allowed", "bad"),
        (documents.interrupted(), "Interrupted: 3 of 8 hosts ready, 0 bad, 5 left", "warn"),
        (documents.large(), "Stopped: 9 bad of 200 hosts, 0 allowed", "bad"),
        (documents.without_plans(), "Stopped: gw2 says that another run has locked it", "warn"),
        (
            {**documents.interrupted(), "state": "dead", "stopped": None},
            "Died without a result, its process is gone: 3 of 8 hosts ready, 0 bad",
            "bad",
        ),
        (
            {**documents.interrupted(), "state": "running", "stopped": None, "exit_code": None},
            "Still running: 3 of 8 hosts ready, 0 bad",
            "idle",
        ),
        (
            {**documents.contained(), "state": "failed", "stopped": None},
            "Ended with 8 of 8 hosts not ready, 1 of them bad",
            "bad",
        ),
    ],
)
def test_the_verdict_is_one_sentence(document: dict[str, Any], verdict: str, tone: str) -> None:
    assert story.verdict(document) == verdict
    assert story.tone(document) == tone


def test_how_far_the_harm_went() -> None:
    assert story.reach(documents.contained()) == (
        "Bad in canary: gw2. 2 hosts back on the release before, 6 hosts not touched."
    )
    assert story.reach(documents.large()) == (
        "Bad in wave 2: gateway-043, gateway-049, gateway-053 and 6 more. "
        "118 hosts not touched, 73 hosts changed and ready."
    )
    assert story.reach(documents.good()) == "1 up to date, 7 done."


def test_every_outcome_of_core_has_a_word_and_a_tone() -> None:
    assert {str(outcome) for outcome in Outcome} <= set(outcomes.WORDS)
    for outcome in Outcome:
        assert outcomes.word(str(outcome)).tone in ("good", "bad", "warn", "idle")
    assert outcomes.word("from_the_future").text == "from the future"


@pytest.mark.parametrize(("tone", "counted"), [("bad", BAD), ("good", GOOD)])
def test_an_outcome_has_the_tone_that_core_gives_it(tone: str, counted: frozenset[Outcome]) -> None:
    assert counted == {name for name, word in outcomes.WORDS.items() if word.tone == tone}


def test_a_host_without_an_end_is_under_way_or_waits() -> None:
    assert story.outcome({"outcome": None, "began": "2026-11-22T15:30:00Z"}) == "running"
    assert story.outcome({"outcome": None, "began": None}) == "untouched"


def test_a_reason_and_the_log_under_it_part() -> None:
    reason, log = story.split(documents.HANGS)
    assert reason == "generate: found no answer to a real question within 30 s, needed one"
    assert log[0].startswith("phi4-edge-onnx 1.4.0: loading")
    assert len(log) == 7
    assert story.split("one line") == ("one line", ())
    assert story.split(None) == ("", ())
    assert story.split("why\n  a\n  b (the host is back on r-1)") == ("why (the host is back on r-1)", ("a", "b"))
    assert story.split("why:\n    a\n      b\n\n") == ("why:", ("a", "  b"))


def test_equal_reasons_are_one_trouble_and_the_worst_comes_first() -> None:
    found = story.troubles(documents.large())
    assert [(each.outcome, len(each.hosts)) for each in found] == [("failed", 4), ("failed", 3), ("unreachable", 2)]
    contained = story.troubles(documents.contained())
    assert [each.outcome for each in contained] == ["rolled_back", "reverted"]
    assert contained[0].next_step.endswith("phi4-edge status inventory/gateways.ini")
    assert story.troubles(documents.good()) == []


def test_every_host_is_in_one_section() -> None:
    for make in documents.ALL.values():
        document = make()
        shown = [host["host"] for section in story.sections(document) for host in section.hosts]
        assert sorted(shown) == sorted(host["host"] for host in document["hosts"])
    assert [section.name for section in story.sections(documents.without_plans())] == ["wave 1", "in no wave"]


def test_times_of_steps_over_the_fleet() -> None:
    found = {each.step: each for each in story.timings(documents.good())}
    assert list(found) == ["artifact", "onnx", "service", "health", "receipt"]
    assert found["artifact"].host in ("gw2", "gw5")
    assert found["artifact"].slowest == pytest.approx(38 * 3.1)
    open_step = {"role": "artifact", "began": None, "seconds": None}
    assert story.timings({"hosts": [{"host": "gw1", "steps": [open_step]}]})[0].slowest == 0


def test_a_step_in_several_turns_is_one_step() -> None:
    began = ("2026-11-22T15:30:00Z", "2026-11-22T15:30:04Z", "2026-11-22T15:30:10Z")
    roles = ("lock", "plan", "lock")
    steps = [{"role": role, "began": at, "seconds": 2.0} for role, at in zip(roles, began, strict=True)]
    host = {"host": "gw1", "steps": steps}
    assert story.step_turns(host) == {"lock": [(0.0, 2.0), (10.0, 2.0)], "plan": [(4.0, 2.0)]}
    found = story.timings({"hosts": [host]})
    assert [(each.step, each.hosts, each.slowest) for each in found] == [("lock", 1, 4.0), ("plan", 1, 2.0)]
    steps[1]["began"] = "no time"
    assert story.step_turns(host)["plan"] == [(2.0, 2.0)]


def test_short_names_tell_hosts_apart() -> None:
    assert story.short_names(["a.x.net", "b.x.net"]) == {"a.x.net": "a", "b.x.net": "b"}
    assert story.short_names(["a.x.net", "a.y.net"])["a.x.net"] == "a.x.net"
    assert story.short_names(["192.0.2.1", "192.0.2.2"])["192.0.2.1"] == "192.0.2.1"


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-40T99:00:00Z", {}])
def test_a_time_that_is_none_is_a_dash(text: object) -> None:
    assert story.clock(text) == "-"
    assert story.elapsed(text, "2026-11-22T15:30:00Z") is None


def commands(document: dict[str, Any]) -> list[str]:
    return [step.command for step in next.steps(document)]


def test_what_to_run_after_a_bad_release() -> None:
    assert commands(documents.contained()) == [
        "phi4-edge status inventory/gateways.ini --limit gw2",
        "phi4-edge provision inventory/gateways.ini",
    ]


def test_what_to_run_after_an_interruption() -> None:
    assert commands(documents.interrupted())[-1] == "phi4-edge provision inventory/gateways.ini --resume"
    dead = {**documents.interrupted(), "state": "dead", "stopped": None}
    assert commands(dead)[-1] == "phi4-edge provision inventory/gateways.ini --resume"


def test_what_to_run_when_all_is_well_or_goes_on() -> None:
    assert commands(documents.good()) == ["phi4-edge verify inventory/gateways.ini"]
    assert commands({**documents.good(), "state": "running"}) == [f"phi4-edge rollout show {documents.ID}"]
    back = {**documents.good(), "operation": "rollback"}
    assert commands(back) == ["phi4-edge status inventory/gateways.ini"]


def test_what_to_run_after_engines_were_tried() -> None:
    served = {"gw1": "r-aaaaaaaaaaaa", "gw2": "r-bbbbbbbbbbbb", "gw3": "r-aaaaaaaaaaaa"}
    back = [
        "phi4-edge rollback inventory/gateways.ini --limit gw1,gw3 --to r-aaaaaaaaaaaa",
        "phi4-edge rollback inventory/gateways.ini --limit gw2 --to r-bbbbbbbbbbbb",
    ]
    # The run may have been cut after the host was done, while it was measured.
    there = {**documents.good(), "operation": "bench", "options": {"served": served}}
    assert commands(there) == back
    hosts = [documents.host(name, None, "interrupted") for name in served]
    cut = {**documents.interrupted(), "operation": "bench", "state": "dead", "hosts": hosts, "options": {"to": served}}
    assert commands(cut)[-2:] == back
    home = {**there, "options": {"to": served}}
    assert commands(home) == ["phi4-edge status inventory/gateways.ini"]


def test_what_to_run_when_hosts_are_locked_or_gone() -> None:
    assert commands(documents.without_plans()) == [
        "phi4-edge lock show inventory/gateways.ini --limit gw2",
        "phi4-edge rollback inventory/gateways.ini --resume",
    ]
    assert any(command.startswith("phi4-edge doctor ") for command in commands(documents.large()))


def test_what_to_run_for_hosts_that_were_left_out() -> None:
    hosts = [documents.host("gw1", None, "no_fit"), documents.host("gw2", None, "preflight")]
    document = {**documents.good(), "state": "failed", "exit_code": 3, "hosts": hosts}
    assert commands(document) == [
        "phi4-edge doctor inventory/gateways.ini --limit gw2",
        "phi4-edge plan inventory/gateways.ini --limit gw1",
        "phi4-edge provision inventory/gateways.ini",
    ]
    assert story.tone(document) == "warn"


def test_the_way_back_names_the_hosts_that_are_done_and_no_other() -> None:
    document = documents.large()
    back = commands(document)[-1]
    done = [host["host"] for host in document["hosts"] if host["outcome"] == "done"]
    assert back == f"phi4-edge rollback inventory/gateways.ini --limit {','.join(done)}"
    for host in document["hosts"]:
        if host["outcome"] == "done":
            host["host"] = f"{host['host']}:!all"  # a pattern of Ansible's: it could mean other hosts
            break
    assert not [command for command in commands(document) if "rollback" in command]


def test_words_of_a_command_are_quoted() -> None:
    document = {**documents.good(), "inventory": ["my fleet.ini", "$(reboot)"], "limit": "eu_*;x"}
    assert commands(document) == ["phi4-edge verify 'my fleet.ini' '$(reboot)' --limit 'eu_*;x'"]


@pytest.mark.parametrize("name", [name for name in documents.ALL if name != "hostile"])
def test_the_samples_are_what_the_record_gives(name: str) -> None:
    resources = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]
    registry = Registry().with_resources(resources)
    jsonschema.Draft202012Validator(schema("rollout"), registry=registry).validate(documents.ALL[name]())
