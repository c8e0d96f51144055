"""Who has each host to itself, as a table. Takes the document `phi4-edge/locks/1`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts import lock
from phi4_edge.report.text import duration, table, wrap

STATES = (lock.FREE, lock.RELEASED, *lock.STATES)


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """One line per host, then who could not be asked or would not let go, and what to do."""
    hosts = document["hosts"]
    head = ["HOST", "STATE", "HOLDER", "DOING", "SINCE", "LAST SIGN"]
    out = table(head, [_row(host) for host in hosts], width) if hosts else []
    states = {host["state"] for host in hosts}
    for state, note in lock.NOTES.items():
        if state in states:
            out += wrap(f"{state}: {note}", width)
    for host in hosts:
        if host["refused"]:
            out += ["", *wrap(f"{host['host']}: {host['refused']}", width, rest="    ")]
    return out


def _row(host: Mapping[str, Any]) -> list[str]:
    holder = host["holder"]
    state = host["state"] if host["state"] in STATES else "held"
    if not holder:
        return [host["host"], state, "-", "-", "-", "-"]
    who = f"{lock.who(holder)} (pid {holder['pid'] or 'unknown'})"
    age = holder["age"]
    sign = f"{duration(age)} ago" if isinstance(age, int | float) else "-"
    since = str(holder["started"] or "-").replace("T", " ")
    return [host["host"], state, who, str(holder["operation"] or "-"), since, sign]
