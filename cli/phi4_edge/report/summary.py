"""What a run came to: counts, then each host that is not as it should be, with the reason and the next step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.report.text import count, duration, table, wrap

HostDict = Mapping[str, Any]

_WORDS = {
    "failed": "failed",
    "rolled_back": "rolled back",
    "unhealthy": "unhealthy",
    "timed_out": "timed out",
    "reverted": "taken back",
    "unreachable": "unreachable",
    "no_fit": "no fit",
    "preflight": "not started",
    "locked": "locked",
    "interrupted": "interrupted",
    "untouched": "not begun",
}
_GOOD = ("done", "unchanged")


def summary(result: Mapping[str, Any], verb: str, width: int, idle: str = "up to date") -> list[str]:
    """The result document of a run for people.

    `verb`: what was done to the hosts that are done ('provisioned'); `idle`: how the others were already.
    """
    hosts: Sequence[HostDict] = result["hosts"]
    bad = [host for host in hosts if host["outcome"] not in _GOOD]
    done = [host for host in hosts if host["outcome"] == "done"]
    lines: list[str] = []
    if done:
        rows = [(h["host"], verb, h["release"] or "-", h["changed"], duration(h["seconds"])) for h in done]
        lines += [*table(("HOST", "RESULT", "RELEASE", "CHANGED", "TIME"), rows, width, right=(3, 4)), ""]
    for host in bad:
        lines += trouble(host, width)
    if bad:
        lines.append("")
    lines += wrap(headline(result, verb, idle), width, rest="")
    if result["interrupted"]:
        left = any(host["outcome"] in ("interrupted", "untouched") for host in hosts)
        again = "run the same command again to go on; what is done is not done again"
        lines += wrap(f"interrupted: {again if left else 'nothing was left to do'}", width)
    return lines


def headline(result: Mapping[str, Any], verb: str, idle: str = "up to date") -> str:
    """One sentence with every count; 'nothing to do' when that is so."""
    counts: Mapping[str, int] = result["counts"]
    changed = f"changed={result['changed']}"
    if set(counts) <= {"unchanged"}:
        return f"nothing to do: {count(counts.get('unchanged', 0), 'host')} {idle}, {changed}"
    words = {**_WORDS, "done": verb, "unchanged": idle}
    parts = [f"{number} {words.get(name, name)}" for name, number in counts.items()]
    return f"{count(len(result['hosts']), 'host')}: {', '.join(parts)}, {changed}"


def trouble(host: HostDict, width: int) -> list[str]:
    """A bad host: its name and end, the reason, and what to do next."""
    word = _WORDS.get(host["outcome"], host["outcome"])
    lines = wrap(f"{host['host']}: {word}: {host.get('reason') or 'no reason given'}", width, rest="    ")
    if host.get("next_step"):
        lines += wrap(str(host["next_step"]), width, first="    next: ", rest="          ")
    return lines
