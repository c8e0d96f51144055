"""What a run came to: counts, then each host that is not as it should be, with the reason and the next step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.core.rollout.words import Verb, ended
from phi4_edge.errors import AGAIN
from phi4_edge.report import outcomes
from phi4_edge.report.text import count, duration, table, wrap

HostDict = Mapping[str, Any]


def summary(result: Mapping[str, Any], verb: Verb, width: int) -> list[str]:
    """The result document of a run for people.

    `verb`: what was done to the hosts that are done, and how the others were already.
    """
    hosts: Sequence[HostDict] = result["hosts"]
    bad = [host for host in hosts if host["outcome"] not in GOOD]
    done = [host for host in hosts if host["outcome"] == "done"]
    lines: list[str] = []
    if done:
        rows = [(h["host"], verb.done, h["release"] or "-", h["changed"], duration(h["seconds"])) for h in done]
        lines += [*table(("HOST", "RESULT", "RELEASE", "CHANGED", "TIME"), rows, width, right=(3, 4)), ""]
    for host in _alike(bad):
        lines += trouble(host, width)
    if bad:
        lines.append("")
    lines += wrap(headline(result, verb), width, rest="")
    return lines + _ways_on(result, width)


def _alike(hosts: Sequence[HostDict]) -> list[HostDict]:
    """Hosts whose turn did not come for the same reason are named together."""
    kept: dict[object, dict[str, Any]] = {}
    for host in hosts:
        one = host["outcome"] != "untouched"
        found = kept.setdefault((host["host"] if one else "", host["reason"], host["next_step"]), {**host, "names": []})
        found["names"].append(host["host"])
    return [{**host, "host": shortened(host["names"])} for host in kept.values()]


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Names in one line, the first of them where there are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _ways_on(result: Mapping[str, Any], width: int) -> list[str]:
    """What to run next: to go on, and to see what happened."""
    lines: list[str] = []
    rollout = result.get("rollout")
    if result["interrupted"]:
        left = any(host["outcome"] in ("interrupted", "untouched") for host in result["hosts"])
        command = "continue with the same command and --resume" if rollout else f"{AGAIN} to continue"
        again = f"{command}; what is done is not done again"
        lines += wrap(f"interrupted: {again if left else 'nothing was left to do'}", width)
    if rollout:
        lines.append(f"what happened: phi4-edge rollout show {rollout}")
        lines.append(f"as a page:     phi4-edge report {rollout} -o report.html")
    return lines


def waves_text(waves: Sequence[Any], width: int) -> list[str]:
    """One paragraph per wave: its name and its hosts."""
    lines: list[str] = []
    for wave in waves:
        size = "" if len(wave.hosts) == 1 else f" ({len(wave.hosts)} hosts)"
        lines += wrap(f"{wave.name}{size}: {shortened(wave.hosts, 20)}", width, first="  ", rest="      ")
    return lines


def headline(result: Mapping[str, Any], verb: Verb) -> str:
    """One sentence with every count; 'nothing to do' when that is so."""
    counts: Mapping[str, int] = result["counts"]
    changed = f"changed={result['changed']}"
    if set(counts) <= {"unchanged"}:
        return f"nothing to do: {count(counts.get('unchanged', 0), 'host')} {verb.idle}, {changed}"
    good = {"done": verb.done, "unchanged": verb.idle}
    parts = [f"{number} {good.get(name) or outcomes.word(name).text}" for name, number in counts.items()]
    return f"{count(len(result['hosts']), 'host')}: {', '.join(parts)}, {changed}"


def trouble(host: HostDict, width: int) -> list[str]:
    """A bad host: its name and end, the reason, and what to do next."""
    told = ended(host["host"], outcomes.word(host["outcome"]).text, host.get("reason") or "no reason given")
    lines = wrap(told, width, rest="    ")
    if host.get("next_step"):
        lines += wrap(str(host["next_step"]), width, first="    next: ", rest="          ")
    return lines
