"""Many clients for a while, of all lengths, some of which leave: what is answered, and what memory does.

python soak.py SECONDS        with PHI4_TEST_MODEL_DIR; `test_serving` has a short one
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from client import Engine, python

CLIENTS = 16
SETTINGS = {"PHI4_CONTEXT_LENGTH": "1024", "PHI4_PARALLEL": "4", "PHI4_QUEUE": "8", "PHI4_MODEL_NAME": "tiny"}
SYSTEM = "You are the assistant of a gateway that counts boats, boxes and birds, and you answer in few words. " * 4


@dataclass(frozen=True)
class Question:
    """What is asked, greedily, and the answer that it had when nobody else asked."""

    content: str
    tokens: int
    told: str


@dataclass
class Found:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes of the model process in memory, once a second."""


def questions(engine: Engine) -> list[Question]:
    """Asked one by one, with nothing kept from one to the next that is long enough to matter."""
    found = []
    for number in range(24):
        stem = SYSTEM if number % 2 else ""
        content = f"{stem}Number {number}: " + f"{number} boats and {number * 7} birds. " * (number % 12)
        tokens = 1 + number * 3
        body = engine.chat(content, max_tokens=tokens, temperature=0).json()
        found.append(Question(content, tokens, body["choices"][0]["message"]["content"]))
    return found


def soak(engine: Engine, asked: list[Question], seconds: float, clients: int = CLIENTS) -> Found:
    """So many clients ask at once for so long."""
    found, guard, end = Found(), threading.Lock(), time.monotonic() + seconds
    threads = [threading.Thread(target=_client, args=(engine, asked, end, found, guard, at)) for at in range(clients)]
    for thread in threads:
        thread.start()
    pid = engine.worker_pid()
    while time.monotonic() < end:
        found.memory.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096)
        time.sleep(1)
    for thread in threads:
        thread.join()
    return found


def _client(engine: Engine, asked: list[Question], end: float, found: Found, guard: threading.Lock, seed: int) -> None:
    dice = random.Random(seed)
    while time.monotonic() < end:
        question = dice.choice(asked)
        if dice.random() < 0.25:
            _leave(engine, question, dice)
            with guard:
                found.left += 1
            continue
        answer = engine.chat(question.content, max_tokens=question.tokens, temperature=0)
        with guard:
            found.statuses[answer.status] += 1
            if answer.status == 200 and answer.json()["choices"][0]["message"]["content"] != question.told:
                found.wrong.append(question.content)
        if answer.status == 429:
            time.sleep(dice.random() * 0.2)


def _leave(engine: Engine, question: Question, dice: random.Random) -> None:
    stream = engine.stream(question.content, max_tokens=question.tokens, temperature=0)
    with contextlib.suppress(StopIteration):
        events = stream.events()
        for _ in range(dice.randrange(6)):
            next(events)
    stream.close()


def grown(memory: list[int]) -> float:
    """How much more memory there was in the last quarter of the time than in the second one, as a share."""
    quarter = max(1, len(memory) // 4)
    return max(memory[-quarter:]) / max(memory[quarter : 2 * quarter] or memory) - 1


def main() -> None:
    """Prints what came of it; exit status 1 when something was wrong."""
    environ = {"PHI4_MODEL_DIR": os.environ["PHI4_TEST_MODEL_DIR"], **SETTINGS}
    alone = Engine(python("-m", "phi4_engine"), environ | {"PHI4_PREFIX_CACHE": "off"})
    alone.wait_for(200)
    asked = questions(alone)
    alone.close()
    engine = Engine(python("-m", "phi4_engine"), environ)
    engine.wait_for(200)
    found = soak(engine, asked, float(sys.argv[1]))
    status = engine.terminate()
    growth = grown(found.memory)
    megabytes = [size // 10**6 for size in found.memory[:: max(1, len(found.memory) // 20)]]
    sys.stdout.write(
        f"{dict(found.statuses)}, {found.left} left, {len(found.wrong)} wrong, exit {status}, "
        f"memory {growth:+.1%}: {megabytes} MB\n"
    )
    bad = set(found.statuses) - {200, 429} or found.wrong or status or growth > 0.05 or "Traceback" in engine.log
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
