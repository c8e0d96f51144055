"""Access to the raw sources of one host, and the record of what they failed to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts.model import Gap
from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.core.text import clean
from phi4_edge.core.values import layout as apart
from phi4_edge.errors import FactsError

FORMAT = "phi4-edge/facts/1"
# The probe sends at most 512 KiB per source; a document from elsewhere is cut here.
MOST_TEXT = 1 << 20
KINDS = ("missing", "timeout", "failed", "nonsense", "denied")
_AGAIN = "Make the document with `phi4-edge detect --raw`."


class Sources:
    """The sources of one document. Reading never raises; what is absent or unusable becomes a gap."""

    def __init__(self, document: object) -> None:
        """Check the outer shape; raises FactsError when `document` is no facts document at all."""
        if not isinstance(document, Mapping):
            raise FactsError(f"Found {type(document).__name__}, needed a facts document (a JSON object). {_AGAIN}")
        if document.get("format") != FORMAT:
            found = clean(document.get("format"), 60) or "none"
            raise FactsError(f"Found format {found}, needed {FORMAT}. {_AGAIN}")
        sources = document.get("sources")
        if not isinstance(sources, Mapping):
            raise FactsError(f"Found no sources in the facts document, needed an object named sources. {_AGAIN}")
        self.host = clean(document.get("host"), 253)
        self.layout = layout(document.get("layout"))
        self._sources: Mapping[Any, Any] = sources
        self._gaps: dict[str, Gap] = {}
        self._truncated: set[str] = set()

    def text(self, name: str) -> str:
        """Return the text of a source, "" where there is a gap (which is then on record)."""
        entry = self._sources.get(name)
        if not isinstance(entry, Mapping):
            self.gap(name, "missing", "not in the document")
            return ""
        text = entry.get("text")
        if not isinstance(text, str):
            kind = entry.get("gap")
            self.gap(name, kind if kind in KINDS else "nonsense", entry.get("detail"))
            return ""
        if entry.get("truncated") is True or len(text) > MOST_TEXT:
            self._truncated.add(name)
        return text[:MOST_TEXT]

    def text_or_none(self, name: str) -> str | None:
        """Return the text of a source that most hosts have not, None where it is missing; that is no gap then."""
        entry = self._sources.get(name)
        if entry is None or (isinstance(entry, Mapping) and entry.get("gap") == "missing"):
            return None
        return self.text(name)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a source without surrounding white space and without empty ones."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def detail(self, name: str) -> str:
        """Return what a failed source said about itself."""
        entry = self._sources.get(name)
        return clean(entry.get("detail"), 300) if isinstance(entry, Mapping) else ""

    def gap(self, name: str, kind: str, detail: object = "") -> None:
        """Record that `name` told nothing; the first finding about a source stays."""
        self._gaps.setdefault(name, Gap(name, kind, clean(detail, 300)))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """All gaps found until now, by name."""
        return tuple(self._gaps[name] for name in sorted(self._gaps))

    @property
    def truncated(self) -> tuple[str, ...]:
        """Names of the sources that were cut."""
        return tuple(sorted(self._truncated))


def layout(said: object) -> Layout:
    """Return where the host was looked at; documents say it where that was not the standard place."""
    if said is None:
        return STANDARD
    try:
        found = said if isinstance(said, Mapping) else {}
        return apart(found.get("root"), found.get("state"))
    except ValueError as error:
        raise FactsError(
            f"Found the layout {clean(str(said), 120)} in the facts document, needed root and state: {error}. {_AGAIN}"
        ) from None
