"""Reads the journals of rollouts: which there are, what one was, which one can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.core.text import clean
from phi4_edge.errors import LockedError, RecordError
from phi4_edge.rollout import journal
from phi4_edge.rollout.replay import Parts, build

DAMAGED = "damaged"
_OVER = ("done", DAMAGED)


def ids(root: Path) -> list[str]:
    """All rollouts that are on record, the newest first."""
    folder = root / journal.FOLDER
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"found {folder}, which cannot be read ({error.strerror}): see who owns it") from error
    return [path.name for path in sorted(found, key=_age, reverse=True)]


def _age(folder: Path) -> tuple[str, int, str]:
    """Sorts by the time in the id; those of one second by when they were written."""
    try:
        written = (folder / journal.HEADER).stat().st_mtime_ns
    except OSError:
        written = 0
    return folder.name.partition("-")[0], written, folder.name


def find(root: Path, word: str) -> str:
    """The id of the rollout that `word` means: a whole id, its beginning, or `last`. Raises RecordError."""
    known = ids(root)
    if not known:
        raise RecordError(
            f"found no rollout on record in {root / journal.FOLDER}, needed one: phi4-edge provision makes them"
        )
    if word == "last":
        return known[0]
    fitting = [name for name in known if name.startswith(word)] if word else []
    if word in fitting or len(fitting) == 1:
        return word if word in fitting else fitting[0]
    wanted = clean(word, 60)
    if fitting:
        raise RecordError(
            f"found {len(fitting)} rollouts that begin with {wanted} ({', '.join(fitting[:4])}), needed one: "
            "give more of its id"
        )
    raise RecordError(f"found no rollout {wanted}, needed an id, its beginning, or last: see phi4-edge rollout list")


def load(root: Path, name: str) -> dict[str, Any]:
    """The document `phi4-edge/rollout/1` (schema: data/rollout.schema.json) of one rollout.

    Events that cannot be read are left out, and a note says so. Raises RecordError when what it was cannot be told.
    """
    folder = root / journal.FOLDER / name
    header = _read(folder / journal.HEADER, name)
    if header is None:
        raise _damaged(folder / journal.HEADER, name, "it is missing")
    notes: list[str] = []
    kept = _read(folder / journal.PLANS, name) or {}
    told = list(_events(folder, notes))
    result = _read(folder / journal.RESULT, name)
    try:
        plans = kept.get("plans", [])
        if kept and kept.get("sha256") != journal.digest(plans):
            notes.append(f"{journal.PLANS} is not as it was written: the plans below may not be what was applied")
        alive = result is None and journal.held(folder / journal.ALIVE)
        return build(Parts(header, plans, told, result, alive, tuple(notes)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(folder, name, f"{type(error).__name__}: {error}") from error


def events(root: Path, name: str) -> list[dict[str, Any]]:
    """All events of one rollout that can be read, as they were written."""
    return list(_events(root / journal.FOLDER / name, []))


def summary(root: Path, name: str) -> dict[str, Any]:
    """One rollout in a few words; one that is damaged has the state `damaged`, and says in `problem` why."""
    try:
        document = load(root, name)
    except RecordError as error:
        return {"id": name, "state": DAMAGED, "problem": str(error)}
    counts: dict[str, int] = {}
    for host in document["hosts"]:
        counts[host["outcome"] or "open"] = counts.get(host["outcome"] or "open", 0) + 1
    wanted = ("id", "operation", "state", "stopped", "started", "ended", "user", "controller", "inventory", "limit")
    return {key: document[key] for key in wanted} | {
        "exit_code": document["exit_code"],
        "hosts": len(document["hosts"]),
        "counts": counts,
        "problem": None,
    }


@dataclass(frozen=True)
class Unfinished:
    """A rollout that has not come to its good end. `other`: what of another operation came after it, "" for nothing."""

    id: str
    state: str
    pid: object
    other: str


def newest_unfinished(root: Path, inventory: Sequence[str], operation: str = "provision") -> str | None:
    """The rollout that `--resume` goes on with: the newest of this inventory that has not come to its good end.

    None when there is none, or when a later one of the same hosts has. Raises LockedError while one is running, and
    RecordError when hosts of this inventory were brought elsewhere since: what was finished may be so no more.
    """
    for left in unfinished(root, inventory, operation):
        if left.state == "running":
            raise LockedError(
                f"found rollout {left.id} of this inventory still running (pid {left.pid}), needed it ended: "
                f"wait for it, or see phi4-edge rollout show {left.id}"
            )
        if left.other:
            raise RecordError(
                f"found {clean(left.other, 80)} of this inventory after {left.id}, needed none: hosts that were "
                "finished may no longer be; run without --resume, which probes all of them"
            )
        return left.id
    return None


def unfinished(
    root: Path, inventory: Sequence[str], operation: str, state_of: Callable[[str], str] | None = None
) -> Iterator[Unfinished]:
    """Rollouts of this inventory, the newest first, that neither they nor a later one of the same hosts brought to a
    good end; those that are running are among them.

    `state_of` tells a rollout's state to who knows it already; a record is long to read.
    """
    wanted, over, other = journal.absolute(inventory), set[str | None](), ""
    for name in ids(root):
        folder = root / journal.FOLDER / name
        header = _header(folder, name)
        if header is None or header.get("inventory_paths") != wanted:
            continue
        if header.get("operation") != operation:
            other = other or f"{header.get('operation')} {name}"
            continue
        state = state_of(name) if state_of else str(summary(root, name)["state"])
        limit = str(header["limit"]) if header.get("limit") else None
        if state == "running" or (state not in _OVER and not over & {None, limit}):
            yield Unfinished(name, state, header.get("pid"), other)
        if state == "done":
            over.add(limit)


def inventory(root: Path, name: str) -> tuple[str, ...] | None:
    """The inventory that a rollout was of, as absolute paths; None where its record does not say."""
    paths = (_header(root / journal.FOLDER / name, name) or {}).get("inventory_paths")
    whole = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
    return tuple(paths) if isinstance(paths, list) and whole else None


def plans(root: Path, name: str) -> list[Mapping[str, Any]]:
    """The plans of a rollout as they were applied, of whatever version; none for a rollback.

    Raises RecordError where they cannot be read, or are not as they were written.
    """
    path = root / journal.FOLDER / name / journal.PLANS
    kept = _read(path, name)
    if kept is None:
        return []
    found = kept.get("plans")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _damaged(path, name, "it holds no list of plans")
    if kept.get("sha256") != journal.digest(found):
        raise _damaged(path, name, "it is not as it was written")
    return found


def _header(folder: Path, name: str) -> Mapping[str, Any] | None:
    try:
        return _read(folder / journal.HEADER, name)
    except RecordError:  # a damaged record is shown by `rollout list`, and is in nobody's way here
        return None


def _read(path: Path, name: str) -> dict[str, Any] | None:
    """The object in a file, None when there is no file. Raises RecordError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, name, clean(str(error), 200)) from error
    if not isinstance(found, dict):
        raise _damaged(path, name, f"a JSON {type(found).__name__}, needed an object")
    return found


def _events(folder: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Events in their order. A last line that was cut off is passed over; other lines that are none get a note."""
    try:
        lines = (folder / journal.EVENTS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _damaged(folder / journal.EVENTS, folder.name, f"{error.strerror}") from error
    strange = 0
    for number, line in enumerate(lines, 1):
        event = _event(line)
        if event is not None:
            yield event
        elif line.strip() and number < len(lines):
            strange += 1
    if strange:
        notes.append(f"{strange} of {len(lines)} lines of {journal.EVENTS} cannot be read, and are left out")


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    named = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("event", "at"))
    return found if named else None


def _damaged(path: Path, name: str, why: str) -> RecordError:
    return RecordError(
        f"found a record of rollout {name} that cannot be read ({path.name}: {why}), needed what phi4-edge wrote "
        f"there: look at {path}, and remove the folder of that rollout if it is of no use"
    )
