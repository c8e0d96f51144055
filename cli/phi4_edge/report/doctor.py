"""What is in the way, for people: the worst host first, hosts of which the same is said together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.doctor import words
from phi4_edge.report.text import cells, count, pad, wrap

Entry = Mapping[str, Any]

FIELDS = ("level", "check", "found", "needed", "fix")
# Below this width a table of three columns leaves no room for what was found.
WIDE = 120
CONTROLLER = "(controller)"


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """The document `phi4-edge/doctor/1` as text of at most `width` columns; words that are longer stay whole."""
    hosts: Sequence[Entry] = document["hosts"]
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for host in hosts:
        if words.told(host):
            groups.setdefault(_said(host), []).append(host)
    # A host that was not reached is worse than any; then by its worst finding, as often as it has one.
    shown = sorted(
        groups.values(), key=lambda group: (group[0]["reached"], [-number for number in words.tally(group[0])])
    )
    told: list[str] = []
    for group in shown:
        told += [*_group(group, width), ""]
    quiet = [host["host"] for host in hosts if not words.told(host) and host["host"] != CONTROLLER]
    if quiet:
        told += [*wrap(f"{words.NOTHING}: {', '.join(quiet)}", width, rest="    "), ""]
    return [*told, *wrap(headline(document), width)]


def headline(document: Mapping[str, Any]) -> str:
    """One sentence: how many hosts, what was found, whether provisioning can start."""
    counts: Mapping[str, int] = document["counts"]
    hosts = [host for host in document["hosts"] if host["host"] != CONTROLLER]
    away = sum(not host["reached"] for host in hosts)
    found = [count(counts.get(level, 0), level) for level in words.ORDER if counts.get(level)]
    found += [f"{away} unreachable"] if away else []
    end = {
        0: "nothing is in the way",
        3: "provisioning would stop at the problems; fix them, then run doctor again",
        5: "hosts that cannot be reached cannot be provisioned; fix that first",
    }[document["exit_code"]]
    return f"{count(len(hosts), 'host')}: {', '.join(found) or 'no finding'}; {end}"


def _said(host: Entry) -> tuple[object, ...]:
    """All that is said of a host but its name: of a fleet in one state it is said once."""
    return host["reached"], *(tuple(finding[key] for key in FIELDS) for finding in words.told(host))


def _group(group: Sequence[Entry], width: int) -> list[str]:
    host = group[0]
    names = ", ".join(entry["host"] for entry in group)
    each = " each" if len(group) > 1 else ""
    told = wrap(f"{names}: {words.counted(host)}{each}", width, rest="    ")
    findings = words.told(host)
    room = max((cells(finding["check"]) for finding in findings), default=0)
    for finding in findings:
        told += _finding(finding, room, width)
    return told


def _finding(finding: Mapping[str, str], room: int, width: int) -> list[str]:
    """What was found and needed, then the fix on lines of its own; wide terminals get columns, narrow ones a list."""
    text = words.text(finding)
    if width >= WIDE:
        first = f"  {pad(finding['level'], 7)}  {pad(finding['check'], room)}  "
        told = wrap(text, width, first=first)
        return told + (wrap(finding["fix"], width, first=" " * cells(first) + "fix: ") if finding["fix"] else [])
    told = wrap(text, width, first=f"  {finding['level']}  {finding['check']}: ", rest="      ")
    return told + (wrap(finding["fix"], width, first="      fix: ", rest="           ") if finding["fix"] else [])
