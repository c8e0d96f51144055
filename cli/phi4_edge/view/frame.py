"""A frame of the live board: what fits into so many columns and rows, the most telling first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from phi4_edge.core.rollout.outcome import BAD, GOOD, Outcome
from phi4_edge.report.text import cells, count, cut, duration, pad
from phi4_edge.view.board import BACK, BAKING, TROUBLE, WAITING, WORKED_ON, Board, Line, counts, word

# Parts of a row: clean text that holds no line break, and its style ("" is plain).
Row = tuple[tuple[str, str], ...]
STYLES: dict[str, str] = {
    **dict.fromkeys(TROUBLE, "warn"),
    **dict.fromkeys(BAD, "bad"),
    **dict.fromkeys(GOOD, "good"),
    BAKING: "bake",
    BACK: "warn",
    WAITING: "faint",
    Outcome.UNTOUCHED: "faint",
}
SLOW_SECONDS = 10.0  # a task that has run for so long is shown before the others, with its time
_STATE_WIDTH = 11  # "unreachable", "rolled back"
_FEW_ROWS = 16  # below that, waves that are over share one row, and so do those to come
_TEXT = 400  # more of a message never fits into a row


@dataclass
class Group:
    """Waves that share a heading; `at`: -1 over, 0 the one that is worked on, 1 to come. No name: no heading."""

    name: str
    lines: list[Line]
    at: int = 0
    began: float | None = None
    ended: float | None = None
    shown: list[Line] = field(default_factory=list)

    @property
    def hidden(self) -> list[Line]:
        """Lines that are counted below the others: of a wave that is over, or still to come, only those in trouble."""
        names = {line.host for line in self.shown}
        return [line for line in self.lines if line.host not in names and (self.at == 0 or line.state in TROUBLE)]


def frame(board: Board, width: int, height: int, now: float) -> list[Row]:
    """At most `height` - 1 rows (the cursor stands below them) of less than `width` columns."""
    width = max(width - 1, 20)
    head = _head(board, width, now)
    room = max(height - 1 - len(head), 1)
    groups = _groups(board)
    if sum(bool(group.name) + len(group.lines) for group in groups) <= room:
        for group in groups:
            group.shown = group.lines
    else:
        groups = _merged(groups, room)
        _choose(groups, room - sum(bool(group.name) for group in groups), now)
    return [*head, *_body(groups, width, now)][: height - 1]


def _head(board: Board, width: int, now: float) -> list[Row]:
    """What concerns all hosts: two rows in a rollout, else at most one."""
    title = cut(board.title[:_TEXT], width)
    if not board.waves:
        return [((title, "title"),)] if title else []
    through = sum(1 for line in board.lines.values() if line.outcome)
    parts = [f"{through} of {count(len(board.lines), 'host')} through"]
    if board.current is not None:
        parts.insert(0, board.place)
    budget = f"bad: {board.bad} (allowed: {cut(board.budget, 12)})" + (", stopping" if board.exceeded else "")
    style = "bad" if board.exceeded else "warn" if board.bad else "title"
    row = _fit([("   ".join(parts) + "   ", "title"), (budget, style), (f"   {_clock(now - board.began)}", "")], width)
    below: Row = ((title or cut(f"rollout {board.id}", width), ""),)
    if board.bake_ends is not None:
        left = board.bake_ends - now
        text = f"bake: {_clock(left + 0.999)} left" if left > 0 else "bake: time is up, last check of the hosts"
        below = ((cut(text, width), "bake"),)
    return [row, below]


def _groups(board: Board) -> list[Group]:
    """All hosts: each in its wave, and before the waves those in none."""
    if not board.waves:
        return [Group("", list(board.lines.values()))]
    groups: list[Group] = []
    member: set[str] = set()
    for wave in board.waves:
        span = board.spans[wave.number]
        now = board.current is not None and wave.number == board.current.number
        at = 0 if now else 1 if span.began is None else -1
        groups.append(Group(wave.name, board.group(wave), at, span.began, span.ended))
        member.update(wave.hosts)
    others = [line for line in board.lines.values() if line.host not in member]
    return [*([Group("in no wave", others, -1)] if others else []), *groups]


def _merged(groups: list[Group], room: int) -> list[Group]:
    """The same hosts below fewer headings: waves that are long over share one, and so do those that are far."""
    over, to_come = (3, 2) if room >= _FEW_ROWS else (1, 1)
    past = [group for group in groups if group.at < 0 and group.began is not None]
    rest = [group for group in groups if group.at > 0]
    return [
        *(group for group in groups if group.at < 0 and group.began is None),
        *_joined(past, 0, len(past) - over + 1),
        *(group for group in groups if group.at == 0),
        *_joined(rest, to_come - 1, len(rest)),
    ]


def _joined(groups: list[Group], first: int, end: int) -> list[Group]:
    """`groups` with those from `first` until `end` made into one."""
    part = groups[first:end] if end > 0 else []
    if len(part) < 2:
        return groups
    lines = [line for group in part for line in group.lines]
    one = Group(f"{part[0].name} to {part[-1].name}", lines, part[0].at, part[0].began, part[-1].ended)
    return [*groups[:first], one, *groups[end:]]


def _choose(groups: Sequence[Group], space: int, now: float) -> None:
    """Sets what is shown so that, with a row where a group hides some, all take at most `space` rows."""
    newest = [line for group in reversed(groups) for line in group.lines if group.at == 0 or line.state in TROUBLE]
    trouble = sorted((line for line in newest if line.state in TROUBLE), key=lambda line: line.state not in BAD)
    others = sorted((line for line in newest if line.state not in TROUBLE), key=lambda line: _turn(line, now))
    busy = sum(line.state in WORKED_ON for line in others)
    for rows in range(max(space, 0), -1, -1):
        # Trouble leaves half of the rows to hosts that are at work.
        chosen = trouble[: rows - min(busy, rows // 2)]
        chosen += others[: rows - len(chosen)]
        for group in groups:
            names = {line.host for line in group.lines}
            group.shown = [line for line in chosen if line.host in names]
        if rows + sum(bool(group.hidden) for group in groups) <= space:
            break
    for group in groups:
        if len(group.hidden) == 1:  # to say that there is one more takes as much room
            group.shown += group.hidden


def _turn(line: Line, now: float) -> int:
    """Hosts that hold the others up, then those at work, those that wait for them, are through, have not begun."""
    if line.state in WORKED_ON:
        return 0 if line.task_seconds(now) >= SLOW_SECONDS else 2 if line.waits(now) else 1
    return 3 if line.outcome else 4


def _body(groups: Sequence[Group], width: int, now: float) -> list[Row]:
    shown = [line for group in groups for line in group.shown]
    wide = min(max((cells(cut(line.host, 40)) for line in shown), default=0), max(width * 3 // 10, 8))
    heads = min(max((cells(cut(group.name, 40)) for group in groups), default=0), max(width // 4, 8))
    rows: list[Row] = []
    for group in groups:
        if group.name:
            rows.append(_heading(group, heads, width, now))
        rows += [_host(line, wide, width, now) for line in group.shown]
        if hidden := group.hidden:
            rows.append(_fit([("  ", ""), (f"and {len(hidden)} more: {counts(hidden)}", "faint")], width))
    return rows


def _heading(group: Group, wide: int, width: int, now: float) -> Row:
    ended = now if group.ended is None else group.ended
    elapsed = "" if group.began is None else _clock(ended - group.began)
    start = f"{pad(cut(group.name, wide), wide)}  {count(len(group.lines), 'host'):>9}  {elapsed:>6}  "
    return _fit([(start, "title" if group.at == 0 else ""), (counts(group.lines), _style(group))], width)


def _style(group: Group) -> str:
    states = {line.state for line in group.lines}
    return "bad" if states & BAD else "warn" if states & TROUBLE else "faint" if group.at > 0 else ""


def _host(line: Line, wide: int, width: int, now: float) -> Row:
    name = f"  {pad(cut(line.host, wide), wide)}  "
    state = f"{pad(word(line.state), _STATE_WIDTH)}"
    elapsed = "" if line.began is None else _clock(line.seconds(now))
    return _fit([(name, ""), (state, STYLES.get(line.state, "")), (f"  {elapsed:>6}  {_said(line, now)}", "")], width)


def _said(line: Line, now: float) -> str:
    """What the host does, or what went wrong with it and where."""
    if line.state in TROUBLE:
        where = f" ({line.step})" if line.step else ""
        step = "" if line.state == Outcome.REVERTED else line.step  # nothing went wrong there
        return cut(line.trouble[:_TEXT] + where if line.trouble else step, 2 * _TEXT)
    if line.state not in WORKED_ON:
        return ""
    slow = line.task_seconds(now)
    step = line.step + (f" {_clock(slow)}" if slow >= SLOW_SECONDS else "")
    if line.step and line.waits(now):
        step = f"waits after {line.step}"
    parts = [f"{step} after", line.trouble[:_TEXT]] if line.trouble else [step, line.task[:_TEXT]]
    return cut(": ".join(part for part in parts if part), _TEXT)


def _clock(seconds: float) -> str:
    """Whole seconds: a row changes once a second at most."""
    whole = max(int(seconds), 0)
    return f"{whole}s" if whole < 60 else duration(whole)


def _fit(parts: Sequence[tuple[str, str]], width: int) -> Row:
    """The parts side by side, cut where the row is full."""
    row, left = [], width
    for text, style in parts:
        kept = text if cells(text) <= left else _cut(text, left)
        row.append((kept, style))
        left -= cells(kept)
        if kept != text:
            break
    return tuple(row)


def _cut(text: str, width: int) -> str:
    """Like `cut`, with the spaces that the text begins with."""
    indent = " " * (len(text) - len(text.lstrip(" ")))
    return indent + cut(text, width - len(indent)) if width > len(indent) + 2 else ""
