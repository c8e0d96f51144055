"""What the tests of a rollout's report share: the sample documents, and a page as the elements that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from tests.standins import rollout_documents as documents

WRITTEN = "2026-11-22 15:50:00 UTC"
VOID = {"meta"}
__all__ = ["WRITTEN", "Page", "documents", "parse"]


@dataclass
class Page(HTMLParser):
    """Elements with their attributes, what is not closed, and the text of it all."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [str(found[name]) for _, found in self.elements if name in found]

    @property
    def text(self) -> str:
        return "".join(self.words)


def parse(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page


def host(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in document["hosts"] if each["host"] == name)
