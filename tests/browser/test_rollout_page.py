"""The page of a rollout in a real browser: at desktop and phone width, light and dark, and printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.report.outcomes import word
from phi4_edge.report.rollout.story import outcome, sections
from phi4_edge.report.text import cut
from tests.browser.chromium import Browser, serving

Look = Callable[[str], Any]
SAMPLES = ("good", "contained", "interrupted", "large", "hostile", "without_plans")
pytestmark = pytest.mark.e2e  # needs a browser, and half a minute
every = pytest.mark.parametrize("name", SAMPLES)


@every
def test_nothing_is_wider_than_the_window(seen: Look, name: str) -> None:
    for way, found in seen(name).ways.items():
        assert found["width"] == int(way.partition(".")[0])
        assert found["closed"] == [], way
        assert found["open"] == [], way


@every
def test_every_host_shows_with_its_outcome(seen: Look, name: str) -> None:
    document = seen(name).document
    hosts = [host for section in sections(document) for host in section.hosts]
    for way, found in seen(name).ways.items():
        assert len(found["rows"]) == len(hosts), way
        for host, row in zip(hosts, found["rows"], strict=True):
            assert cut(host["host"], 80) in row, way
            assert cut(word(outcome(host)).text, 60) in row, way


@every
def test_nothing_runs_and_nothing_is_loaded(seen: Look, name: str) -> None:
    look = seen(name)
    assert set(look.asked) == {"/harness.html", "/page.html"}
    for found in look.ways.values():
        assert (found["hit"], found["scripts"], found["handlers"], found["loaded"]) == (None, 0, 0, 0)
        assert found["title"] != "hit"


@every
def test_all_text_can_be_read_in_light_and_dark(seen: Look, name: str) -> None:
    for way, found in seen(name).ways.items():
        assert found["faint"] == [], way
        assert found["text"] > 500


@every
def test_all_of_it_can_be_reached_by_keyboard_and_by_link(seen: Look, name: str) -> None:
    for way, found in seen(name).ways.items():
        assert found["unreachable"] == 0, way
        assert found["opened"] is True, way


def test_the_page_by_itself_asks_for_nothing(browser: Browser, seen: Look) -> None:
    with serving(seen("hostile").page) as site:
        shown = browser.dump(f"{site.address}/page.html")
    assert site.asked == ["/page.html"]
    assert "What went wrong, and why" in shown


def test_print_shows_what_is_folded_on_a_screen(seen: Look) -> None:
    look = seen("contained")
    assert look.ways["1440.light"]["plans"] == 0
    assert look.ways["1440.print"]["plans"] == len(look.document["hosts"])
    assert look.ways["1440.print"]["cut"] == 0


def test_the_answer_is_on_the_first_screen(seen: Look) -> None:
    for name in ("contained", "large", "interrupted"):
        assert seen(name).ways["1440.light"]["first"] < 400
        assert seen(name).ways["390.light"]["heading"].strip()


def test_the_scheme_follows_what_the_reader_has_chosen(browser: Browser, seen: Look) -> None:
    look = seen("contained")
    dark, _ = browser.look(look.page, ["1440.light"], "--blink-settings=preferredColorScheme=0")
    assert dark["1440.light"]["background"] == look.ways["1440.dark"]["background"]
    assert dark["1440.light"]["background"] != look.ways["1440.light"]["background"]


BROKEN = """<!doctype html><title>t</title><body style="color:#999;background:#fff"><main><p>faint</p>
<div style="width:2000px">wide</div><img src="leak.png"><script>window.hit = 1; document.title = "hit"</script>
<details><summary hidden>gone</summary><div id="h1">x</div></details></main>"""


def test_the_browser_sees_what_is_wrong_with_a_broken_page(browser: Browser) -> None:
    ways, asked = browser.look(BROKEN, ["390.light"])
    found = ways["390.light"]
    assert "/leak.png" in asked
    assert (found["hit"], found["title"], found["scripts"], found["loaded"]) == (1, "hit", 1, 1)
    assert any("wide" in each for each in found["closed"])
    assert any("faint" in text for _, text in found["faint"])
    assert (found["unreachable"], found["handlers"]) == (1, 2)
