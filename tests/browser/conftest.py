"""One browser for the session, and what it finds on each sample page, looked at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.report.rollout.page import page
from tests.browser.chromium import Browser
from tests.standins import rollout_documents as documents

WAYS = ("1440.light", "390.light", "1440.dark", "390.dark", "1440.print")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


class Seen:
    """A sample rollout, its page, and what the browser found there."""

    def __init__(self, browser: Browser, name: str) -> None:
        self.document: dict[str, Any] = documents.ALL[name]()
        self.page = page(self.document, "2026-11-22 15:50:00 UTC")
        self.ways, self.asked = browser.look(self.page, WAYS)


@pytest.fixture(scope="session")
def seen(browser: Browser) -> Callable[[str], Seen]:
    kept: dict[str, Seen] = {}

    def once(name: str) -> Seen:
        if name not in kept:
            kept[name] = Seen(browser, name)
        return kept[name]

    return once
