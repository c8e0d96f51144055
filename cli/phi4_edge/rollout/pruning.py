"""Which records of rollouts nobody needs any more, what the plans of the others name, and how a record is removed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi4_edge.errors import LockedError, RecordError
from phi4_edge.rollout import journal, record

# No reader takes a folder that begins with a dot for a record.
_ASIDE = ".pruned-"
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Verdict:
    """One record: whether it goes, and why. `size` in bytes; `age` in seconds, by its id, None where that says none."""

    id: str
    state: str
    size: int
    age: float | None
    goes: bool
    why: str


def folder(root: Path) -> Path:
    """Where the records are."""
    return root / journal.FOLDER


def judge(root: Path, keep: int, older_than: float) -> list[Verdict]:
    """What becomes of every record, the oldest first; each inventory keeps its newest `keep`. Changes nothing.

    Only a record goes that has ended, that `--resume` does not go on with, and that began `older_than` seconds ago or
    earlier. Raises RecordError when the folder of the records cannot be read.
    """
    now, counted, found = datetime.now(UTC), dict[str, int](), list[Verdict]()
    names = record.ids(root)
    inventories = {name: record.inventory(root, name) for name in names}
    states = {name: str(record.summary(root, name)["state"]) for name in names}
    resumable = set(_resumable(root, inventories, states))
    for name in names:
        sources = inventories[name]
        group = "\n".join(sources or ())
        counted[group] = counted.get(group, 0) + 1
        age = _age(name, now)
        state = record.DAMAGED if sources is None else states[name]
        why = _keeps(state, name in resumable)
        if not why and counted[group] <= keep:
            why = f"one of the newest {keep} of its inventory"
        if not why and (age is None or age < older_than):
            why = "not older than --older-than"
        gone = "it has ended, and newer ones are kept" if keep else "it has ended"
        found.append(Verdict(name, state, _size(folder(root) / name), age, not why, why or gone))
    return found[::-1]


def _keeps(state: str, resumable: bool) -> str:
    """Why a record stays however old it is."""
    if state == "running":
        return "it is running"
    if state == record.DAMAGED:
        return "it cannot be read, so nobody knows whether it has ended: see phi4-edge rollout list"
    return "--resume goes on with it" if resumable else ""


def _resumable(
    root: Path, inventories: Mapping[str, tuple[str, ...] | None], states: Mapping[str, str]
) -> Iterator[str]:
    """Ids of the rollouts that `--resume` goes on with, now or after another one has ended."""
    for sources in {sources for sources in inventories.values() if sources is not None}:
        for operation in ("provision", "rollback"):
            for left in record.unfinished(root, sources, operation, lambda name: states.get(name, record.DAMAGED)):
                if left.state == "running" or not left.other:
                    yield left.id


def remove(root: Path, name: str) -> str:
    """Remove a record; "" when it is gone, else why it stays: somebody has gone on with it meanwhile.

    A kill leaves it whole, or out of sight until `sweep`. Raises RecordError when it cannot be removed.
    """
    there = folder(root) / name
    try:
        handle = journal.hold(there / journal.ALIVE)
    except LockedError:
        return "it is running again"
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _refused(there, error) from error
    try:
        aside = there.with_name(f"{_ASIDE}{name}")
        there.rename(aside)
        journal.sync(there.parent)
        shutil.rmtree(aside)
    except OSError as error:
        raise _refused(there, error) from error
    finally:
        os.close(handle)
    return ""


def sweep(root: Path) -> None:
    """Delete what killed removals left out of sight. Raises RecordError when it cannot be deleted."""
    for left in folder(root).glob(f"{_ASIDE}*"):
        try:
            shutil.rmtree(left)
        except FileNotFoundError:
            continue  # another one sweeps too
        except OSError as error:
            raise _refused(left, error) from error


def named(root: Path, keep: int) -> dict[str, str]:
    """What plans on record name: artifacts, wheelhouses and images by name and digest, with the newest rollout's id.

    Counted are, of each inventory, the newest `keep` rollouts with plans, and all that are not at their end: `--resume`
    makes the same again. Raises RecordError for one of these that cannot be read: what it names would be taken away.
    """
    found, counted = dict[str, str](), dict[str, int]()
    names = record.ids(root)
    inventories = {name: record.inventory(root, name) for name in names}
    states = {name: str(record.summary(root, name)["state"]) for name in names}
    left = set(_resumable(root, inventories, states))
    for name in names:
        group = "\n".join(inventories[name] or ())
        if counted.get(group, 0) >= keep and name not in left:
            continue
        plans = record.plans(root, name)
        counted[group] = counted.get(group, 0) + bool(plans)
        for each in plans:
            for word in _words(each):
                found.setdefault(word, name)
    return found


def _words(plan: Mapping[str, Any]) -> Iterator[str]:
    """All that a plan of any version names in the controller's store."""
    page = plan.get("webui")
    image = page.get("image") if isinstance(page, Mapping) else None
    for part, fields in (
        (plan.get("model"), ("artifact", "digest")),
        (plan.get("runtime"), ("artifact", "digest", "id")),
        (plan.get("image"), ("key", "digest")),
        (image, ("key", "digest")),
    ):
        if isinstance(part, Mapping):
            yield from (value for name in fields if isinstance(value := part.get(name), str) and value)


def _age(name: str, now: datetime) -> float | None:
    """Seconds since the time that an id begins with; a clock that was set back makes nothing old."""
    try:
        began = datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return max((now - began).total_seconds(), 0.0)


def _size(there: Path) -> int:
    total = 0
    for path in there.iterdir() if there.is_dir() else ():
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _refused(there: Path, error: OSError) -> RecordError:
    return RecordError(
        f"found a record that cannot be removed ({error.strerror or error}): {there}; see who owns it, then run the "
        "same command again"
    )
