"""The page of a rollout as text: one file that loads and runs nothing, whatever hosts have said."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import operator
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.report.rollout.page import page
from phi4_edge.report.text import cut
from tests.unit.report.rollout.samples import WRITTEN, Page, documents, parse

ELEMENTS = (
    "html head meta title style body header main footer nav section h1 h2 h3 p div span strong bdi a ul ol li dl dt dd "
    "table thead tbody tr th td details summary pre svg rect"
)
ATTRIBUTES = (
    "lang charset http-equiv content name class id href title scope colspan open dir aria-label aria-labelledby "
    "aria-hidden viewbox preserveaspectratio x width height"
)
every = pytest.mark.parametrize("name", list(documents.ALL))


def made(name: str) -> tuple[dict[str, Any], str, Page]:
    document = documents.ALL[name]()
    text = page(document, WRITTEN)
    return document, text, parse(text)


@every
def test_only_elements_and_attributes_that_do_nothing(name: str) -> None:
    _, text, found = made(name)
    assert {element for element, _ in found.elements} <= set(ELEMENTS.split())
    assert {key for _, attributes in found.elements for key in attributes} <= set(ATTRIBUTES.split())
    assert not found.wrong
    assert not found.open
    text.encode("utf-8")
    assert not [char for char in text if (char < " " and char != "\n") or "\x7f" <= char <= "\x9f"]


@every
def test_links_stay_on_the_page(name: str) -> None:
    _, _, found = made(name)
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in found.attributes("href")} <= set(ids)
    assert set(found.attributes("aria-labelledby")) <= set(ids)


@every
def test_the_page_forbids_itself_everything_but_its_style(name: str) -> None:
    _, text, found = made(name)
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [each["content"] for _, each in found.elements if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in style
    assert "@import" not in style


@every
def test_every_host_is_told_with_its_outcome(name: str) -> None:
    document, _, found = made(name)
    titles = [title for title in found.attributes("title") if ": " in title]
    for number, host in enumerate(document["hosts"]):
        assert f"h{number}" in found.attributes("id")
        assert any(title.startswith(cut(host["host"], 200)) for title in titles)
    assert WRITTEN in found.text


@every
def test_headings_follow_each_other(name: str) -> None:
    _, _, found = made(name)
    levels = [int(element[1]) for element, _ in found.elements if re.fullmatch(r"h[1-6]", element)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tables_have_heads() -> None:
    _, _, found = made("contained")
    scopes = found.attributes("scope")
    assert {"col", "row", "rowgroup"} == set(scopes)
    assert found.attributes("lang") == ["en"]


def test_a_bad_release_is_told_at_the_top() -> None:
    _, _, found = made("contained")
    top = found.text[: found.text.index("Fleet by wave")]
    for said in ("Stopped: 1 bad of 8 hosts", "Bad in canary: gw2.", "Why: generate: found no answer"):
        assert said in top
    assert "read of model.onnx.data stopped at 1 734 213 632 bytes: Input/output error" in found.text
    assert "phi4-edge status inventory/gateways.ini --limit gw2" in found.text
    assert "onnx int4: needs 6.6 GB with context 4096" in found.text


def test_a_good_rollout_has_no_section_of_troubles() -> None:
    _, _, found = made("good")
    assert "trouble" not in found.attributes("id")
    assert "#trouble" not in found.attributes("href")
    assert "Done: 8 hosts, all good" in found.text


def test_a_rollout_of_200_hosts_stays_small() -> None:
    document, text, _ = made("large")
    assert len(document["hosts"]) == 200
    assert len(text.encode()) < 1_000_000


def test_many_logs_are_cut_to_their_last_lines() -> None:
    document = documents.contained()
    bad = document["hosts"][1]
    log = "why\n" + "\n".join(f"  line {number}" for number in range(30))
    document["hosts"] = [{**bad, "host": f"gw{number}", "reason": log} for number in range(30)]
    text = page(document, WRITTEN)
    assert text.count("line 0\n") == 12
    assert text.count("line 29</pre>") == 30
    assert "30 lines, the last 5" in text


def test_notes_of_the_journal_are_told() -> None:
    document = {**documents.good(), "notes": ["2 of 90 lines of events.jsonl cannot be read, and are left out"]}
    assert "2 of 90 lines of events.jsonl" in parse(page(document, WRITTEN)).text


def test_every_piece_of_a_bar_is_drawn_in_its_frame() -> None:
    document = documents.good()
    turns = [("2026-11-22T15:30:00Z", 50), ("2026-11-22T15:31:30Z", 1000), ("2026-11-22T15:29:00Z", 0)]
    document["hosts"] = [document["hosts"][0]]
    document["hosts"][0]["steps"] = [{"role": "onnx", "began": began, "seconds": length} for began, length in turns]
    text = page(document, WRITTEN)
    bar = parse(text[text.index('class="steps"') :].partition("<svg")[2].partition("</svg>")[0])
    boxes = [(float(str(each["x"])), float(str(each["width"]))) for _, each in bar.elements]
    assert boxes == [(0, 4.6), (8.3, 91.7), (0, 0.6)]
    # A rectangle that stays open would have the next one inside, where no browser draws it.
    assert (bar.open, bar.wrong) == ([], [])


ATTACK = (
    "\x1b[2J\u202e\u2066\x00\x9b\"'><script>hit</script><img onerror=hit>{{ 1111 * 1111 }}{% raw %}</style></title>"
)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every text of a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*way, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*way, number))
    elif isinstance(value, str):
        yield way


def attacked(document: dict[str, Any], way: tuple[Any, ...]) -> dict[str, Any]:
    """A copy with the attack in one place."""
    copy = json.loads(json.dumps(document))
    *above, last = way
    functools.reduce(operator.getitem, above, copy)[last] = ATTACK
    return dict(copy)


def test_no_field_of_a_rollout_is_markup_or_obeyed() -> None:
    document = {**documents.contained(), "limit": "gw*", "notes": ["a line was left out"]}
    document["hosts"] = document["hosts"][1:3]
    ways, shown = list(leaves(document)), 0
    assert {("hosts", 0, name) for name in ("host", "outcome", "reason", "next_step", "release")} <= set(ways)
    for way in ways:
        text = page(attacked(document, way), WRITTEN)
        found = parse(text)
        assert {element for element, _ in found.elements} <= set(ELEMENTS.split()), way
        assert {key for _, attributes in found.elements for key in attributes} <= set(ATTRIBUTES.split()), way
        assert (found.wrong, found.open) == ([], []), way
        assert not [char for char in text if not char.isprintable() and char != "\n"], way
        assert "1234321" not in text, f"{way} was taken as a template"
        shown += "<script>hit</script>" in found.text
    assert shown > 20


@settings(max_examples=60)
@given(words=st.lists(st.text(max_size=60), min_size=9, max_size=9), name=st.sampled_from(["contained", "interrupted"]))
def test_no_words_of_a_host_become_markup(words: list[str], name: str) -> None:
    document = documents.ALL[name]()
    host, plan = document["hosts"][1], document["hosts"][1]["plan"]
    host["host"], host["reason"], host["next_step"], host["release"], host["outcome"] = words[:5]
    plan["reasons"], plan["warnings"], document["notes"] = [words[5]], [words[6]], [words[7]]
    host["steps"] = [{"role": words[8], "began": words[7], "seconds": None}]
    found = parse(page(document, WRITTEN))
    assert {element for element, _ in found.elements} <= set(ELEMENTS.split())
    assert {key for _, attributes in found.elements for key in attributes} <= set(ATTRIBUTES.split())
    assert (found.wrong, found.open) == ([], [])
    assert {link.removeprefix("#") for link in found.attributes("href")} <= set(found.attributes("id"))


def test_a_record_that_knows_little_is_told_all_the_same() -> None:
    document = {
        **documents.contained(),
        "waves": [],
        "ended": None,
        "exit_code": None,
        "state": "dead",
        "stopped": None,
    }
    document["budget"] = {"size": None, "bad": 0, "exceeded": False}
    assert "Died without a result" in parse(page(document, WRITTEN)).text
    assert "0 bad, ? allowed" in parse(page({**document, "hosts": []}, WRITTEN)).text


def test_a_plan_of_another_version_is_passed_over() -> None:
    document = documents.contained()
    document["hosts"][0]["plan"] = {"host": "gw1", "fits": True, "engine": "onnx"}
    assert "was made by another version of phi4-edge" in parse(page(document, WRITTEN)).text
