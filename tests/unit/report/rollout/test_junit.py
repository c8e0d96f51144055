"""A rollout as JUnit XML: what Jenkins' schema lets through, whatever hosts and inventories say."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as Tree

import pytest

from phi4_edge.core.rollout.outcome import GOOD, Outcome
from phi4_edge.report.rollout import junit
from tests.unit.report.rollout.samples import documents

# junit-10.xsd of Jenkins' xunit plugin: what an element may have, and must have.
ATTRIBUTES = {
    "testsuites": ("name time tests failures errors", ""),
    "testsuite": ("name tests failures errors skipped time timestamp hostname", "name tests failures errors"),
    "properties": ("", ""),
    "property": ("name value", "name value"),
    "testcase": ("name classname time", "name"),
    **dict.fromkeys(("failure", "error", "skipped"), ("type message", "")),
    "system-out": ("", ""),
}
# The order is that of Ant's schema, which is the stricter one.
CHILDREN = {
    "testsuites": "(testsuite )*",
    "testsuite": "properties (testcase )*",
    "properties": "(property )*",
    "testcase": "((failure|error|skipped) )?system-out ",
}
TIME = re.compile(r"[0-9]+\.[0-9]{3}")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def valid(text: str) -> Tree.Element:
    """The root of a document that is as the schemas want it."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert text.isascii()
    assert not re.search(r"[^\n\x20-\x7e]", text)
    root = Tree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        known, needed = (set(names.split()) for names in ATTRIBUTES[element.tag])
        assert needed <= set(element.attrib) <= known, element.tag
        inside = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), inside), (element.tag, inside)
        assert TIME.fullmatch(element.get("time", "0.000"))
        assert STAMP.fullmatch(element.get("timestamp", "2026-11-22T15:30:00"))
    for suite in root:
        counted = {
            name: len(list(suite.iter(tag)))
            for name, tag in (
                ("tests", "testcase"),
                ("failures", "failure"),
                ("errors", "error"),
                ("skipped", "skipped"),
            )
        }
        assert {name: int(suite.get(name, "-1")) for name in counted} == counted
    for total in ("tests", "failures", "errors"):
        assert int(root.get(total, "-1")) == sum(int(suite.get(total, "-1")) for suite in root)
    return root


@pytest.mark.parametrize("name", list(documents.ALL))
def test_every_document_is_valid_and_has_every_host_once(name: str) -> None:
    document = documents.ALL[name]()
    root = valid(junit.text(document))
    assert len(list(root.iter("testcase"))) == len(document["hosts"])


def test_waves_are_suites_and_hosts_are_cases() -> None:
    root = valid(junit.text(documents.contained()))
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        ("canary", "2"), ("wave 1", "2"), ("wave 2", "2"), ("wave 3", "2"),
    ]  # fmt: skip
    assert (root.get("failures"), root.get("errors")) == ("2", "0")
    case = next(case for case in root.iter("testcase") if case.get("name") == "gw2")
    assert case.get("classname") == "provision.canary"
    failure, said = case.find("failure"), case.findtext("system-out") or ""
    assert failure is not None
    assert failure.get("type") == "rolled_back"
    assert str(failure.get("message")).startswith("rolled back: generate: found no answer to a real question")
    assert "worker 71412: read of model.onnx.data stopped" in str(failure.text)
    assert "next: see the lines above; then run again" in str(failure.text)
    assert "phi4-edge status inventory/gateways.ini" in str(failure.text)
    assert "step health: 26s" in said
    assert "plan: why: onnx int4: needs 6.6 GB with context 4096" in said
    properties = {each.get("name"): each.get("value") for each in root[0].iter("property")}
    assert properties["verdict"] == "Stopped: 1 bad of 8 hosts, 0 allowed"
    assert properties["exit_code"] == "4"


STATES = {
    **dict.fromkeys(GOOD, None),
    **dict.fromkeys(("failed", "rolled_back", "unhealthy", "timed_out", "reverted"), "failure"),
    **dict.fromkeys(("unreachable", "locked", "no_fit", "preflight", "interrupted", "of a later version"), "error"),
    "untouched": "skipped",
}


def one(outcome: str | None, state: str = "stopped", **more: Any) -> Tree.Element:
    """The case of a rollout's only host."""
    host = {**documents.host("gw1", 0, outcome or "done"), "outcome": outcome, **more}
    return next(valid(junit.text(documents.Sample([host], state, 4, names=("wave 1",)).document())).iter("testcase"))


@pytest.mark.parametrize("outcome", [*map(str, Outcome), "of a later version"])
def test_every_outcome_counts_as_what_it_is(outcome: str) -> None:
    found = [child.tag for child in one(outcome) if child.tag != "system-out"]
    assert found == [state for state in (STATES[outcome],) if state]


def test_a_host_that_is_under_way_is_skipped_while_its_rollout_lives_and_an_error_when_that_died() -> None:
    assert one(None, "running").find("skipped") is not None
    assert one(None, "dead").find("error") is not None
    assert one(None, "running", began=None).find("skipped") is not None


def test_what_xml_forbids_and_what_it_would_obey_is_text() -> None:
    attack = "]]><!-- & <failure/> \x00\x08\x0b\x1b[31m\ufffe\uffff\ud800 \U0001f600 'a' \"b\"\r\nsecond"
    case = one("failed", reason=attack, next_step=attack, host=attack, release=attack)
    failure = case.find("failure")
    assert failure is not None
    for text in (str(failure.text), str(failure.get("message")), str(case.get("name")), str(case[-1].text)):
        assert "]]><!-- & <failure/>" in text
        assert "\U0001f600 'a' \"b\"" in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]", text)


def test_a_text_without_end_is_cut() -> None:
    assert (
        len(junit.text(documents.Sample([documents.host("gw1", 0, "failed", reason="x" * 9_000_000)]).document()))
        < 200_000
    )


def test_a_rollout_that_was_damaged_or_has_no_times_is_told_all_the_same() -> None:
    document = {**documents.without_plans(), "started": "yesterday", "controller": "", "user": None, "version": None}
    root = valid(junit.text(document))
    assert [suite.get("hostname") for suite in root] == ["unknown", "unknown"]
    assert root[1].get("timestamp") is None
