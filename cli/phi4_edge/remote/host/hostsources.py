"""Raw text per source, or the reason why there is none: what probe and doctor ask a host, each source on its own.

Python 3.8, standard library. A source that hangs, fails or says too much is a gap in one answer, never a failed host.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Mapping

from hosttools import Gap

SOURCE_SECONDS = 15.0  # up to three tools in a row, or a file system that hangs
DETAIL_LIMIT = 300
STACK_BYTES = 512 * 1024
Answers = Dict[str, Dict[str, Any]]


class Cut(str):
    """A text of which there was more."""


def gather(name: str, source: Callable[[], str], limit: int, answers: Answers) -> None:
    """`answers[name]` holds the source's text, its first `limit` characters, or why there is none."""
    try:
        text = source()
        answers[name] = {"text": text[:limit]}
        if len(text) > limit or isinstance(text, Cut):
            answers[name]["truncated"] = True
    except Gap as gap:
        answers[name] = {"gap": gap.args[0], "detail": gap.args[1][:DETAIL_LIMIT]}
    except (FileNotFoundError, NotADirectoryError) as error:
        answers[name] = {"gap": "missing", "detail": str(error)[:DETAIL_LIMIT]}
    except PermissionError as error:
        answers[name] = {"gap": "denied", "detail": str(error)[:DETAIL_LIMIT]}
    except Exception as error:  # whatever a strange host provokes is a gap in one source, never a failed host
        answers[name] = {"gap": "failed", "detail": ("%s: %s" % (type(error).__name__, error))[:DETAIL_LIMIT]}


def collect(
    sources: Mapping[str, Callable[[], str]], limit: int, limits: Mapping[str, int], longer: Mapping[str, float]
) -> Answers:
    """The answer of every source, all asked at once.

    `limit`: characters of a text, where `limits` has no other. `longer`: sources that get more than SOURCE_SECONDS.
    """
    answers: Answers = {}
    # All of them may be at work at once, and a host may bound what a login allocates: 8 MiB for each is the default.
    threading.stack_size(STACK_BYTES)
    start, threads = time.monotonic(), {}
    for name, source in sources.items():
        args = (name, source, limits.get(name, limit), answers)
        threads[name] = threading.Thread(target=gather, args=args, daemon=True)
        try:
            threads[name].start()
        except RuntimeError as error:  # the host allows no more of them
            answers[name] = {"gap": "failed", "detail": str(error)[:DETAIL_LIMIT]}
            del threads[name]
    for name, thread in threads.items():
        thread.join(max(0.0, start + longer.get(name, SOURCE_SECONDS) - time.monotonic()))
    late = {"gap": "timeout", "detail": "no answer in time"}
    return {name: answers.get(name, late) for name in sources}
