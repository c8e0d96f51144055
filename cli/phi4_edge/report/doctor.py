"""What is in the way, for people: the worst host first, hosts of which the same is said together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.report.text import cells, count, pad, wrap

Entry = Mapping[str, Any]

ORDER = ("problem", "warning", "note")
FIELDS = ("level", "check", "found", "needed", "fix")
# Below this width a table of three columns leaves no room for what was found.
WIDE = 120
CONTROLLER = "(controller)"


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """The document `phi4-edge/doctor/1` as text of at most `width` columns; words that are longer stay whole."""
    hosts: Sequence[Entry] = document["hosts"]
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for host in hosts:
        if _told(host):
            groups.setdefault(_said(host), []).append(host)
    # A host that was not reached is worse than any; then by its worst finding, as often as it has one.
    shown = sorted(groups.values(), key=lambda group: (group[0]["reached"], [-number for number in _tally(group[0])]))
    told: list[str] = []
    for group in shown:
        told += [*_group(group, width), ""]
    quiet = [host["host"] for host in hosts if not _told(host) and host["host"] != CONTROLLER]
    if quiet:
        told += [*wrap(f"nothing found: {', '.join(quiet)}", width, rest="    "), ""]
    return [*told, *wrap(headline(document), width)]


def headline(document: Mapping[str, Any]) -> str:
    """One sentence: how many hosts, what was found, whether provisioning can start."""
    counts: Mapping[str, int] = document["counts"]
    hosts = [host for host in document["hosts"] if host["host"] != CONTROLLER]
    away = sum(not host["reached"] for host in hosts)
    found = [count(counts.get(level, 0), level) for level in ORDER if counts.get(level)]
    found += [f"{away} unreachable"] if away else []
    end = {
        0: "nothing is in the way",
        3: "provisioning would stop at the problems; fix them, then run doctor again",
        5: "hosts that cannot be reached cannot be provisioned; fix that first",
    }[document["exit_code"]]
    return f"{count(len(hosts), 'host')}: {', '.join(found) or 'no finding'}; {end}"


def _told(host: Entry) -> list[Mapping[str, str]]:
    return [finding for finding in host["findings"] if finding["level"] != "ok"]


def _tally(host: Entry) -> list[int]:
    return [sum(finding["level"] == level for finding in host["findings"]) for level in ORDER]


def _said(host: Entry) -> tuple[object, ...]:
    """All that is said of a host but its name: of a fleet in one state it is said once."""
    return host["reached"], *(tuple(finding[key] for key in FIELDS) for finding in _told(host))


def _group(group: Sequence[Entry], width: int) -> list[str]:
    host = group[0]
    parts = [count(number, level) for number, level in zip(_tally(host), ORDER, strict=True) if number]
    names = ", ".join(entry["host"] for entry in group)
    each = " each" if len(group) > 1 else ""
    title = f"{names}: {'' if host['reached'] else 'unreachable, '}{', '.join(parts)}{each}"
    told = wrap(title, width, rest="    ")
    findings = sorted(_told(host), key=lambda finding: ORDER.index(finding["level"]))
    room = max((cells(finding["check"]) for finding in findings), default=0)
    for finding in findings:
        told += _finding(finding, room, width)
    return told


def _finding(finding: Mapping[str, str], room: int, width: int) -> list[str]:
    """What was found and needed, then the fix on lines of its own; wide terminals get columns, narrow ones a list."""
    needed = f"; needed: {finding['needed']}" if finding["needed"] else ""
    text = f"{finding['found']}{needed}"
    if width >= WIDE:
        first = f"  {pad(finding['level'], 7)}  {pad(finding['check'], room)}  "
        told = wrap(text, width, first=first)
        return told + (wrap(finding["fix"], width, first=" " * cells(first) + "fix: ") if finding["fix"] else [])
    told = wrap(text, width, first=f"  {finding['level']}  {finding['check']}: ", rest="      ")
    return told + (wrap(finding["fix"], width, first="      fix: ", rest="           ") if finding["fix"] else [])
