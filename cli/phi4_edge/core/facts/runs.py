"""Whether another run has the host to itself, and what the last one that changed it left half done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts.journal import Journal, Lock
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean, integer

STATES = ("held", "ending", "stale")
_TEXTS = ("id", "user", "host", "operation", "version", "started")


def lock(sources: Sources) -> Lock:
    """Return the lock of the host. One that cannot be read is stale: the role that takes it asks the host itself."""
    data = _document(sources, "lock")
    if data is None or data.get("present") is not True:
        return Lock()
    state, age = data.get("state"), data.get("age")
    return Lock(
        state=state if state in STATES else "stale",
        pid=integer(str(data.get("pid"))) or 0,
        age=float(age) if isinstance(age, int | float) and 0 <= age < 1e9 else 0.0,
        **{name: clean(data.get(name), 200) for name in _TEXTS},
    )


def journal(sources: Sources) -> Journal:
    """Return the last entry of the host's journal; one that cannot be read counts as half done."""
    data = _document(sources, "journal")
    return Journal() if data is None else Journal.from_dict({**data, "present": True})


def _document(sources: Sources, name: str) -> Mapping[str, Any] | None:
    """Return the JSON object of a source, {} where there is something else, None where the host has no such file."""
    text = sources.text_or_none(name)
    if text is None or not text.strip():
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        sources.gap(name, "nonsense", "not JSON")
        return {}
    return data if isinstance(data, Mapping) else {}
