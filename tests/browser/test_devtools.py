"""A browser that is driven: what is typed arrives, and what goes wrong is told with what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser, serving
from tests.browser.devtools import driven

pytestmark = pytest.mark.e2e  # needs a browser
PAGE = """<!doctype html><title>t</title><form onsubmit="event.preventDefault(); said.textContent = field.value">
<input id="field"></form><p id="said"></p><img src="https://elsewhere.example/x.png">"""


def test_a_person_types_and_reads(browser: Browser, tmp_path: Path) -> None:
    with serving(PAGE) as site, driven(browser) as tab:
        tab.size(320, 200)
        tab.open(f"{site.address}/page.html")
        tab.type("#field", "안녕 gateway")
        tab.enter()
        assert tab.wait("said.textContent") == "안녕 gateway"
        tab.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(AssertionError, match=r"not true after 0\.5 s; the page shows:\s안녕 gateway"):
            tab.wait("said.textContent === 'nothing'", 0.5)
        with pytest.raises(AssertionError, match="ERR_NAME_NOT_RESOLVED"):
            tab.open("http://elsewhere.example/")
    assert "/page.html" in site.asked
