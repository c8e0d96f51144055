"""Rollouts in a terminal: which there were, and one of them. Pure.

What matters most stands last, where the prompt is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phi4_edge.core.rollout.outcome import BAD, GOOD
from phi4_edge.core.text import printable
from phi4_edge.report.outcomes import word
from phi4_edge.report.rollout import next as rollout_next
from phi4_edge.report.rollout import story
from phi4_edge.report.text import count, cut, duration, table, wrap

Document = Mapping[str, Any]

# What a stop is called where there is room for one word.
_STATES = {"budget": "over budget", "locked": "locked", "interrupted": "interrupted"}
# Hosts whose turn did not come all say the same: more of them than this in a wave are one line.
_MOST_ALIKE = 3
_WIDE, _WIDEST = 120, 160
_MOST_LOG = 12
_SAID = ("message", "text", "why")  # of an event: what a line that is cut must still show
_MOST_COMMAND = 600  # a screen of one command hides what is above it


def listed(found: Sequence[Document], more: int, width: int) -> list[str]:
    """One line per rollout, the newest first; `more` are not shown. Takes the rollouts of `phi4-edge/rollouts/1`."""
    head = ["ROLLOUT", "STATE", "WHAT", "READY", "BAD", "TOOK", "INVENTORY"]
    wide = ["BY", "EXIT", "LIMIT"] if width >= _WIDE else []
    rows = [_listed(each)[: len(head) + len(wide)] for each in found]
    lines = table([*head, *wide], rows, width, right=(3, 4, 5))
    for each in found:
        if each["problem"]:
            lines += ["", *wrap(f"{each['id']}: {each['problem']}", width, rest="    ")]
    if more:
        lines += ["", f"and {count(more, 'older rollout')}: phi4-edge rollout list --number 0"]
    unended = next((each for each in found if each["state"] in ("dead", "interrupted")), None)
    if unended is not None and unended is found[0]:
        lines += ["", *wrap(f"see what is left of it: phi4-edge rollout show {unended['id']}", width, first="next: ")]
    return lines


def _listed(each: Document) -> list[object]:
    if each["problem"]:
        return [each["id"], each["state"], *["-"] * 8]
    counts: Mapping[str, int] = each["counts"]
    took = story.elapsed(each["started"], each["ended"])
    return [
        each["id"],
        _STATES.get(each["stopped"] or "", each["state"]),
        each["operation"],
        f"{sum(counts.get(name, 0) for name in GOOD)}/{each['hosts']}",
        sum(counts.get(name, 0) for name in BAD),
        "-" if took is None else duration(took),
        " ".join(each["inventory"]),
        f"{each['user']}@{each['controller']}",
        "-" if each["exit_code"] is None else each["exit_code"],
        each["limit"] or "-",
    ]


def shown(document: Document, width: int) -> list[str]:
    """One rollout: its hosts wave by wave, then what went wrong, then how it ended and what to do."""
    lines = _title(document, width)
    if document["hosts"]:
        lines += ["", *_hosts(document, width)]
    if document["waves"]:
        lines += ["", *_waves(document, width)]
    for trouble in story.troubles(document):
        lines += ["", *_trouble(trouble, width)]
    notes = [line for note in document["notes"] for line in wrap(note, width, first="note: ")]
    lines += ["", *notes] if notes else []
    lines += ["", *wrap(story.verdict(document), width, rest="")]
    if reach := story.reach(document):
        lines += wrap(reach, width, rest="")
    for step in rollout_next.steps(document):
        lines += wrap(step.why, width, first="next: ")
        if len(step.command) > _MOST_COMMAND:
            lines += wrap(f"it names many hosts; it is in phi4-edge report {document['id']}", width, first="      ")
        elif step.command:  # whole, on a line of its own: it is there to be copied
            lines.append(f"      {printable(step.command, lines=False)}")
    return lines


def _title(document: Document, width: int) -> list[str]:
    inventory = " ".join(str(path) for path in document["inventory"])
    limit = f" --limit {document['limit']}" if document["limit"] else ""
    who = f"{document['user']}@{document['controller']}"
    lines = wrap(f"{document['id']}: {document['operation']} {inventory}{limit}, by {who}", width, rest="    ")
    took = story.elapsed(document["started"], document["ended"])
    parts = [f"began {story.clock(document['started'], day=True)}"]
    parts += [f"took {duration(took)}"] if took is not None else []
    parts += [f"exit {document['exit_code']}"] if document["exit_code"] is not None else []
    parts += [f"pid {document['pid']}"] if document["state"] == "running" else []
    budget = document["budget"]
    parts += [f"{budget['bad']} bad, {budget['size']} allowed"] if budget["size"] is not None else []
    return [*lines, *wrap("; ".join(parts), width, rest="    ")]


def _hosts(document: Document, width: int) -> list[str]:
    head = ["HOST", "WAVE", "RESULT", "RELEASE", "LAST STEP", "TIME"]
    head += ["BEGAN", "PLAN"] if width >= _WIDE else []
    head += ["WHY"] if width >= _WIDEST else []
    rows = [row[: len(head)] for section in story.sections(document) for row in _rows(section)]
    return table(head, rows, width, right=(5,))


def _rows(section: story.Section) -> Iterator[list[object]]:
    alike = [host for host in section.hosts if story.outcome(host) == "untouched"]
    for host in section.hosts:
        if host not in alike or len(alike) <= _MOST_ALIKE:
            yield _row(host, section.name)
    if len(alike) > _MOST_ALIKE:
        text = word("untouched").text
        yield [f"({count(len(alike), 'host')})", section.name, text, "-", "-", "-", "-", "-", alike[0]["reason"] or ""]


def _row(host: Document, wave: str) -> list[object]:
    plan = host["plan"] or {}
    return [
        host["host"],
        wave,
        word(story.outcome(host)).text,
        host["release"] or "-",
        _last_step(host),
        duration(host["seconds"]) if host["began"] or host["seconds"] else "-",
        story.clock(host["began"]),
        f"{plan.get('engine') or ''} {plan.get('quantization') or ''}".strip() or "-",
        story.split(host["reason"])[0],
    ]


def _last_step(host: Document) -> str:
    """Where the host came to; that its lock is given back at the end says nothing of it."""
    roles = [str(step["role"]) for step in host["steps"]]
    return next((role for role in reversed(roles) if role != "lock"), roles[-1] if roles else "-")


def _waves(document: Document, width: int) -> list[str]:
    rows = []
    for section in story.sections(document):
        wave = section.wave or {}
        took = story.elapsed(wave.get("began"), wave.get("ended"))
        watched = wave.get("bake_seconds")
        size = len(wave.get("hosts") or section.hosts)
        state = story.counted(section.hosts) or "cut; its hosts are below"
        times = ["-" if took is None else duration(took), duration(watched) if watched else "-"]
        rows.append([section.name, size, story.clock(wave.get("began")), *times, state])
    return table(["WAVE", "HOSTS", "BEGAN", "TOOK", "WATCHED", "RESULT"], rows, width, right=(1, 3, 4))


def _trouble(trouble: story.Trouble, width: int) -> list[str]:
    """A reason once, the hosts that gave it, and the log lines of each."""
    names = ", ".join(name for name, _ in trouble.hosts)
    lines = wrap(f"{names}: {word(trouble.outcome).text}: {trouble.reason}", width, rest="    ")
    for name, log in trouble.hosts:
        if log and len(trouble.hosts) > 1:
            lines += wrap(f"{name}:", width, first="    ")
        lines += [f"    | {cut(line, max(width - 6, 20))}" for line in log[-_MOST_LOG:]]
    return lines + (wrap(trouble.next_step, width, first="    next: ") if trouble.next_step else [])


def told(events: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Events as they were written, one line each: when, what, where, and the rest of it."""
    lines = []
    for event in events:
        first = sorted(event.items(), key=lambda item: item[0] not in _SAID)
        rest = " ".join(f"{key}={_plain(value)}" for key, value in first if key not in ("event", "at", "host"))
        where = str(event.get("host") or _result_host(event) or "-")
        lines.append(cut(f"{story.clock(event['at'])}  {event['event']:<9}  {where:<16}  {rest}", width))
    return lines


def _result_host(event: Mapping[str, Any]) -> object:
    result = event.get("result")
    return result.get("host") if isinstance(result, Mapping) else None


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(
            f"{key}={_plain(item)}" for key, item in value.items() if item not in (None, "") and key != "host"
        )
    return ",".join(_plain(item) for item in value) if isinstance(value, list) else str(value)
