"""What must be true of each row of the table, and what it says when it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.hostile.answers import ANSWERS, CONTAINED, EVALUATED, REFUSED, RESERVED
from tests.hostile.doors import Door
from tests.hostile.honest import answers
from tests.hostile.table import INNOCENT, Outcome
from tests.hostile.wire import HONEST_WIRE, SLOW_ACTS

Json = dict[str, Any]
# Facts that our tasks set.
FACTS = {
    "phi4_facts",
    "phi4_lock",
    "phi4_plan",
    "phi4_images",
    "phi4_rollback",
    "phi4_watch",
    "phi4_doctor",
    "phi4_gate",
    "phi4_exchange",
    "phi4_bench",
    "phi4_webui",
}
# Keys that are ours or Ansible's own in a result, although Ansible acts on them.
OURS = {"changed", "failed", "msg", "skipped", "diff", "ansible_facts", "phi4_facts", "phi4_lock", "invocation",
        "warnings", "deprecations", "exception", "_ansible_no_log"}  # fmt: skip
# What a failed row may have beside the message.
FAILED = OURS | {"answer", "timedout", "why", "step", "journal", "watch", "would_install"}
# Words of Python: a message with one of them is an accident and no refusal.
PYTHON = re.compile(
    r"Traceback|unhashable|has no attribute|NoneType|(?:Key|Type|Value|Index|Attribute|Recursion|Unicode\w*)Error"
    r"|string indices|unsupported operand|not subscriptable|not iterable|index out of range|failed: '\w+'$"
    r"|surrogates not"
    r"|positional argument|Unexpected failure|MODULE FAILURE|Exceeds the limit|codec can't|invalid literal|errno|Errno"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Of one exchange: what the memory of a worker process is bounded to, and what is on its way in pipes.
MOST_TAKEN = 72 << 20
# Seconds that a loaded machine needs besides; a host that is waited for without a bound takes far longer.
SLACK = 30
# What a host says of itself may be any words; they stay below these keys.
TOLD = {"exception", "answer", "ansible_facts", "phi4_facts"}
# The host's own words are the message, or the deadline of the task is.
HOSTS_WORDS = {"error of escapes", "error of a template", "error and answer", "error timed out", "error without end"}


def expected(door: Door, behaviour: str) -> str:
    """What must come of it: see answers.py."""
    if behaviour in HONEST_WIRE:
        return "accepted"
    if behaviour not in ANSWERS:
        return REFUSED
    if (behaviour, door.name) == ("damaged", "artifact/push/store"):
        return CONTAINED  # one of its own answers: what was sent did not arrive as it was
    keys = list(answers()[door.name])
    gone = {"one key missing": keys[:1], "last key missing": keys[-1:], "no key": keys}.get(behaviour, [])
    return REFUSED if set(gone) - set(door.optional) else ANSWERS[behaviour].expect


def failed(door: Door, row: Json) -> tuple[bool, str]:
    """Whether the host counts as failed, and the message."""
    if door.part:
        fact = (row["result"].get("ansible_facts") or {}).get("phi4_doctor") or {}
        part = fact.get(door.part) or {}
        return ("error" in part or row["state"] == "failed"), str(part.get("error") or row["result"].get("msg", ""))
    return row["state"] == "failed", str(row["result"].get("msg", ""))


def verdicts(done: Outcome) -> Iterator[tuple[str, str, str]]:
    """(behaviour, task, what is wrong) of each row that is not as it must be."""
    for task, door in done.tasks.items():
        for behaviour in (*done.play.behaviours, "honest"):
            row = done.rows.get((behaviour, task))
            if row is None:
                yield behaviour, task, "lost: the run ended before it"
                continue
            if behaviour == "honest":
                if row["state"] != "ok":
                    yield behaviour, task, f"the innocent host is {row['state']}: {row['result'].get('msg')}"
                continue
            for wrong in judged(done, door, behaviour, row):
                yield behaviour, task, wrong[:400]


def judged(done: Outcome, door: Door, behaviour: str, row: Json) -> Iterator[str]:
    """What is wrong with one row of a hostile host."""
    if (behaviour, door.name) not in done.reached:
        yield "void: the operation was not asked"
    bad, message = failed(door, row)
    wanted = expected(door, behaviour)
    if (behaviour, door.name) in done.same and wanted == REFUSED:
        wanted = CONTAINED
    if wanted == REFUSED and not bad:
        yield f"accepted wrongly ({row['state']})"
    if wanted == "accepted" and bad:
        yield f"refused wrongly: {message[:200]}"
    if row["state"] not in ("ok", "failed"):
        yield f"is {row['state']}"
    if bad:
        yield from wrong_words(behaviour, message)
    if EVALUATED in json.dumps(row["result"]):
        yield "a template was evaluated"
    shown = json.dumps({key: value for key, value in row["result"].items() if key not in TOLD}, ensure_ascii=False)
    shown += message
    if found := PYTHON.search(shown.replace("Traceback (most recent call last): owned", "")):
        yield f"words of Python: {found.group()} in {shown[max(found.start() - 60, 0) :][:160]}"
    yield from passed(bad, row)
    if row["touched"]:
        yield "facts of the innocent host changed"
    limit = done.play.timeout + SLACK
    if row["seconds"] > limit:
        yield f"took {row['seconds']:.0f} s"
    if (taken := done.taken.get((behaviour, door.name), 0)) > MOST_TAKEN:
        yield f"{taken >> 20} MiB were taken from it"


def wrong_words(behaviour: str, message: str) -> Iterator[str]:
    """What is wrong with a message."""
    if CONTROL.search(message):
        yield f"control characters in the message: {message[:200]!r}"
    late = behaviour in SLOW_ACTS and re.search(r"[Tt]imed out|took longer|no end after", message)
    if not late and behaviour not in HOSTS_WORDS and not ("found" in message and "needed" in message):
        yield f"the message is not one of ours: {message[:200]!r}"
    if len(message) > 16000:
        yield f"a message of {len(message)} characters"


def passed(bad: bool, row: Json) -> Iterator[str]:
    """Keys that came through and must not, and facts that are not ours."""
    keys, facts = set(row["result"]), set(row["result"].get("ansible_facts") or {})
    if strange := keys & set(RESERVED) - OURS:
        yield f"reserved keys passed: {sorted(strange)}"
    if facts - FACTS:
        yield f"strange facts: {sorted(facts - FACTS)[:5]}"
    if bad and not facts and keys - FAILED:
        yield f"a failed host's keys passed: {sorted(keys - FAILED)[:5]}"
    if not isinstance(row["result"].get("changed", False), bool):
        yield f"changed is {str(row['result']['changed'])[:60]!r}"


def controller(done: Outcome) -> Iterator[str]:
    """What is wrong with the controller after a play."""
    if done.canaries:
        yield f"{len(done.canaries)} canary files: {done.canaries[:5]}"
    if not done.end:
        yield f"the play did not end (status {done.status}): {done.output[-600:]}"
        return
    if done.end["names"]:
        yield f"strange hosts or groups: {done.end['names'][:5]}"
    if done.end["custom"]:
        yield f"statistics of a host: {list(done.end['custom'])[:5]}"
    if found := CONTROL.search(done.output):
        yield f"control characters on the terminal: {done.output[max(found.start() - 80, 0) :][:160]!r}"
    if "Traceback" in done.output.replace("Traceback (most recent call last): owned", ""):
        yield f"a traceback on the terminal: {done.output[done.output.index('Traceback') - 200 :][:900]}"
    if done.rows.get((INNOCENT, "after"), {"state": "ok"})["state"] not in ("ok", "failed"):
        yield "the innocent host was not there at the end"
