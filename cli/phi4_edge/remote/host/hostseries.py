"""Several scripts in one process, one after the other, as if each had come by itself: one exchange in place of many.

Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import io
import time
from typing import Any, Dict, List, Mapping

from hostlib import Json
from hosttime import connected

# Of what each script is given by itself, all have the same.
SHARED = ("lock", "doubted")


class Answers:
    """What the scripts said so far. It is emitted once: with the first error, or when all is done."""

    def __init__(self, emit: Any, steps: int) -> None:
        self.given: List[Json] = []
        self.emitted = False
        self._emit, self._steps = emit, steps

    def add(self, answer: Json) -> None:
        """The answer of a script. What it does next may be to end the process, so an end is told at once."""
        self.given.append(answer)
        if "error" in answer or len(self.given) == self._steps:
            self.end()

    def end(self) -> None:
        """The controller has them."""
        if not self.emitted:
            self.emitted = True
            self._emit({"answers": self.given})


def run(scope: Mapping[str, Any], scripts: Mapping[str, str]) -> None:
    """Each step of `ARGS["series"]` in turn, until one fails, or does not answer what the next ones need.

    A step has the name of its `script`, its `args`, what it `takes` from earlier answers (argument → [step, key]), what
    its answer `needs` to hold, and the most `seconds` that it may take.
    """
    args, began = scope["ARGS"], time.monotonic()
    answers = Answers(scope["EMIT"], len(args["series"]))
    left = float(args.get("seconds_left") or 0)
    for step in args["series"]:
        given = dict({name: args[name] for name in SHARED if name in args}, **step["args"])
        given.update(_taken(step["takes"], answers.given))
        spare = left - (time.monotonic() - began) if left else step["seconds"]
        given["seconds_left"] = max(1.0, min(step["seconds"], spare))
        if not connected():  # who asked is gone: nothing more is begun
            answers.add({"error": "the connection to the controller was lost before %s" % given["do"]})
            return
        own = {
            "__name__": "__main__", "NONCE": scope["NONCE"], "ARGS": given, "PAYLOAD": io.BytesIO(),
            "EMIT": answers.add,
        }  # fmt: skip
        exec(compile(scripts[step["script"]], step["script"] + ".py", "exec"), own)  # noqa: S102 - it came with this one
        last = answers.given[-1]
        if answers.emitted or any(last.get(name) != value for name, value in step["needs"].items()):
            break
    answers.end()


def _taken(takes: Mapping[str, List[Any]], answers: List[Json]) -> Dict[str, Any]:
    return {name: answers[at].get(key) for name, (at, key) in takes.items()}
