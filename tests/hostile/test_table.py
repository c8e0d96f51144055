"""The hostile-host table: every operation of ours, answered falsely in every way, beside an innocent host.

Real processes of ansible-playbook, real action plugins, and the hostile host's Python at the other end of each
exchange. What may come of a row stands in judge.py. `make tables` plays all of it; a test run plays a part, and
holds the whole product to the schemas without Ansible (test_closed_answers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile import judge
from tests.hostile.answers import ANSWERS
from tests.hostile.doors import Door, doors
from tests.hostile.table import Outcome, Play, run
from tests.hostile.wire import FLOODS, QUICK_ACTS, WAITS, WIRE

QUICK = (*ANSWERS, *WIRE, *QUICK_ACTS)
# One of each kind. An operation is answered in every third of these ways, each way at every third operation: all
# of them lead through the same few lines, and test_closed_answers holds every operation to its schema in every way.
PART = (
    "key add_host", "host is innocent", "keys all", "extra key", "other types", "types within", "nulls", "no key",
    "one key missing", "huge numbers", "deeper", "escape codes", "templates", "long texts", "a lie", "two frames",
    "half a frame", "noise", "error and keys", "ends badly",
)  # fmt: skip
# Operations of which each behaviour is tried at one: each way of answering, of telling, and of asking more than once.
PILOTS = (
    "probe/probe/probe",
    "doctor/login/login",
    "lock/lock/take",
    "artifact/push/finish",
    "service/release/previous",
)
CHECKED = ("key add_host", "host is innocent", "keys all", "other types", "no key", "templates", "a lie", "two frames")
# Seconds: longer than a few honest exchanges on a busy machine, shorter than patience.
DEADLINE = 6
MOST_MEMORY = 400 << 20
THIRDS = 3
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Door]:
    return doors(tmp_path_factory.mktemp("known"))


def first(known: Sequence[Door]) -> list[Door]:
    """One door to each operation."""
    return list({door.operation: door for door in reversed(known)}.values())[::-1]


def judged(record: Record, name: str, outcomes: Sequence[Outcome]) -> None:
    """Every row is as it must be; the counts are printed at the end of the test run."""
    wrong = [words for done in outcomes for words in judge.verdicts(done)]
    wrong += [("", "controller", words) for done in outcomes for words in judge.controller(done)]
    counts = Counter(
        {
            "accepted wrongly": sum("accepted wrongly" in words for _host, _task, words in wrong),
            "tracebacks": sum("ython" in words or "traceback" in words for _host, _task, words in wrong),
            "hangs": sum(" took " in f" {words}" or "lost" in words for _host, _task, words in wrong),
            "canaries": sum(len(done.canaries) for done in outcomes),
        }
    )
    rows = sum(len(done.play.doors) * len(done.play.behaviours) for done in outcomes)
    memory, seconds = max(done.memory for done in outcomes), max(done.seconds for done in outcomes)
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    record("hostile", f"{name}: {rows} rows, {told}; {seconds:.0f} s, at most {memory >> 20} MiB")
    assert not wrong, f"{len(wrong)} rows:\n" + "\n".join(" | ".join(words) for words in wrong[:60])
    assert memory <= MOST_MEMORY


def test_every_operation_is_answered_falsely_in_ways_of_each_kind(
    known: list[Door], tmp_path: Path, record_property: Record
) -> None:
    plays = [run(Play(tmp_path / str(number), known[number::THIRDS], PART[number::THIRDS])) for number in range(THIRDS)]
    judged(record_property, "every operation, a third of each kind", plays)


def test_every_false_way_is_tried_at_some_operation(known: list[Door], tmp_path: Path, record_property: Record) -> None:
    pilots = [door for door in first(known) if door.name in PILOTS]
    assert len(pilots) == len(PILOTS)
    plays = [
        run(Play(tmp_path / str(number), [pilot], QUICK[number :: len(pilots)])) for number, pilot in enumerate(pilots)
    ]
    judged(record_property, "every behaviour, at one of five operations", plays)


@pytest.mark.full
def test_every_operation_is_answered_in_every_false_way(
    known: list[Door], tmp_path: Path, record_property: Record
) -> None:
    # Ansible keeps every result of a play: with more operations it is longer, and not what one of them may take.
    plays = [run(Play(tmp_path / str(number), known[number::THIRDS], QUICK), 3600) for number in range(THIRDS)]
    judged(record_property, "every operation, every behaviour", plays)


@pytest.mark.parametrize("parts", [THIRDS, pytest.param(1, marks=pytest.mark.full)])
def test_check_mode_believes_a_hostile_host_no_more(
    known: list[Door], tmp_path: Path, record_property: Record, parts: int
) -> None:
    asked = [door for door in first(known) if door.checked]
    plays = [
        run(Play(tmp_path / str(number), asked[number::parts], CHECKED[number::parts], check=True))
        for number in range(parts)
    ]
    judged(record_property, f"check mode, each operation in one of {parts} parts of the ways", plays)


def slowly(known: Sequence[Door], folder: Path, plays: int) -> list[Outcome]:
    """Hosts that drip and keep silent, side by side, for nearly all of their time is waiting; then those that flood,
    four at a time."""
    parts = [Play(folder / str(number), known[number::plays], list(WAITS), DEADLINE) for number in range(plays)]
    with ThreadPoolExecutor(plays) as pool:
        waited = list(pool.map(run, parts))
    return [*waited, run(Play(folder / "floods", known, list(FLOODS), forks=4), 1800)]


def test_a_flood_and_a_silence_end_at_a_bound(known: list[Door], tmp_path: Path, record_property: Record) -> None:
    pilots = [door for door in first(known) if door.name in PILOTS]
    judged(record_property, "five operations, floods, drips and silence", slowly(pilots, tmp_path, 2))


@pytest.mark.full
def test_every_flood_and_every_silence_ends_at_a_bound(
    known: list[Door], tmp_path: Path, record_property: Record
) -> None:
    judged(record_property, "every operation, floods, drips and silence", slowly(first(known), tmp_path, 6))
