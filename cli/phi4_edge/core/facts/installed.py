"""Where on a host lies what is installed there, as its unit says, and what is said of one that shall be elsewhere."""

from __future__ import annotations

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.layout import Layout
from phi4_edge.core.values import directory

UNKNOWN = "-"
REMOVE = "remove it there first (phi4-edge remove with those values), then provision"


def parse(sources: Sources) -> Layout | None:
    """Return the directories that the units on the host name, None where there is none of ours.

    A state that cannot be seen, because a release is half there, is taken for the one that was looked at.
    """
    text = sources.text_or_none("installed") or ""
    root, _, state = text.strip().partition(" ")
    if not root:
        return None
    try:
        return Layout(directory(root), sources.layout.state if state in ("", UNKNOWN) else directory(state))
    except ValueError:
        sources.gap("installed", "nonsense", "no directories of ours")
        return None


def elsewhere(facts: HostFacts) -> Layout | None:
    """Return where the host has an installation of ours that was not looked at, None where it has none."""
    return facts.installed if facts.installed not in (None, facts.layout) else None


def misplaced(facts: HostFacts) -> tuple[str, str]:
    """Return what is wrong where an installation lies elsewhere, and what to do about it; ("", "") where none does."""
    there = elsewhere(facts)
    if there is None:
        return "", ""
    differ = [name for name, path in facts.layout.variables.items() if there.variables[name] != path]
    found = " and ".join(f"{name}={there.variables[name]}" for name in differ)
    wanted = " and ".join(f"{name}={facts.layout.variables[name]}" for name in differ)
    return f"found what serves installed with {found}, needed {wanted}", f"set {found} again, or {REMOVE}"
