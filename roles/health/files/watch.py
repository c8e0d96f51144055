"""The watch after the gate: the service stays the same process, stays healthy, and still generates at the end.

Runs on the host for as long as the wave bakes. Cheap for the gateway: between two full looks it reads the start time of
its processes from /proc and asks the health path; programs are run only when a process is not there any more.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any, Callable, Mapping

import gatedocker
from gate import COUNTS, differs, explain, journal, now, ours, passed, placed, probed, restarts
from gatehttp import BusyError, StepError, generating, page
from hostlib import HostError, Json
from hostrun import serve

POLL_SECONDS = 2.0
PROBE_SECONDS = 5.0
# One probe that got no answer may be a board that swaps; three in a row are none that anybody gets served by.
PROBES_IN_A_ROW = 3
# Of the journal: what the service said before the watch may explain its end.
LOOK_BACK_SECONDS = 300
RESTARTED = "the service was started over"


class Seen:
    """What the watch has seen so far, for the answer."""

    def __init__(self, release: str) -> None:
        self.release, self.start = release, time.monotonic()
        self.probes = self.failures = self.row = self.restarts = 0
        self.slowest = 0.0
        self.generations: list[Json] = []
        self.processes: dict[str, str] = {}

    def seconds(self) -> float:
        """Time since the watch began."""
        return time.monotonic() - self.start

    def answer(self, step: str = "") -> Json:
        """The numbers for the journal of the rollout; `step`: what did not pass."""
        return {
            "release": self.release, "seconds": round(self.seconds(), 1), "probes": self.probes,
            "failures": self.failures, "restarts": self.restarts, "slowest_probe_seconds": round(self.slowest, 2),
            "generations": self.generations, "step": step,
        }  # fmt: skip


def watch(args: Json, _payload: bytes) -> Json:
    """The service was watched for `watch_seconds`. Raises HostError with step, reason and journal once it is sure."""
    seen = Seen(args["release"])
    args["since"] = int(time.time()) - LOOK_BACK_SECONDS
    try:
        before = first(args, seen)
        during(args, seen, before, lambda: generated(args, seen))
        while seen.seconds() < args["watch_seconds"]:
            tick(args, seen, before, min(POLL_SECONDS, args["watch_seconds"] - seen.seconds()))
        during(args, seen, before, lambda: generated(args, seen))
        placed(args)
        page_answers(args)
        look(args, seen, before)
    except StepError as failure:
        args["failed"] = failure.step
        numbers = seen.answer(failure.step)
        raise HostError(explain(args, failure), step=failure.step, journal=journal(args), watch=numbers) from None
    return {"watch": seen.answer()}


def first(args: Json, seen: Seen) -> dict[str, str]:
    """The service as it is now: active, and not started over by itself since the gate. Raises StepError otherwise."""
    state = now(args)
    looked(args, seen, state, {"ActiveState": "active", **({"container": "running"} if args["compose"] else {})})
    seen.restarts = since_gate(args, state)
    if seen.restarts:
        raise StepError("restart", f"{RESTARTED} {seen.restarts} times since it passed the gate")
    ours(args, state)
    seen.processes = started(state)
    return state


def since_gate(args: Json, state: Mapping[str, str]) -> int:
    """How often systemd and Docker have started the service over since it passed the gate.

    Somebody who starts the unit by hand sets the counts back to 0. Where the gate left no word, only what came to be
    after the receipt counts, and it cannot be told from what was before.
    """
    gate = passed(args["release"])
    if not gate:
        return restarts(state) if since_commit(args, state) else 0
    counts = [(int(state.get(name) or 0), int(gate.get(name) or 0)) for name in COUNTS]
    return sum(found - known if found >= known else found for found, known in counts)


def since_commit(args: Json, state: Mapping[str, str]) -> bool:
    """True when the unit became active after the receipt was written, by the host's own clocks."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        active = time.monotonic() - int(state["ActiveEnterTimestampMonotonic"]) / 1e6
        return active < time.time() - os.stat(args["receipt"]).st_mtime - 1
    return False


def look(args: Json, seen: Seen, before: Mapping[str, Any]) -> None:
    """A full look: systemd and Docker say that it is the same service. Raises StepError otherwise."""
    state = now(args)
    looked(args, seen, state, before)
    if state.get("container_health") == "unhealthy":
        raise StepError("health", "Docker's own health check says unhealthy")
    seen.processes = started(state)


def looked(args: Json, seen: Seen, state: Mapping[str, str], before: Mapping[str, Any]) -> None:
    """Raises StepError where `state` is not what `before` was; counts how often it was started over."""
    found = differs(state, before)
    if not found:
        return
    more = restarts(state) - restarts(before)
    # Somebody who starts the unit by hand sets systemd's count back to 0.
    seen.restarts = max(more, 0 if state.get("ActiveState") in ("inactive", "failed") else 1)
    what = RESTARTED if seen.restarts else f"{args['unit']} went down"
    raise StepError("restart" if seen.restarts else "process", f"{what}: {found}")


def started(state: Mapping[str, str]) -> dict[str, str]:
    """When each process of the service was started, in the kernel's own count, by process id."""
    pids = [state[name] for name in ("MainPID", "container_pid") if state.get(name, "0") != "0"]
    return {pid: began(pid) for pid in pids}


def began(pid: str) -> str:
    """When a process was started (ticks since boot); "" when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def tick(args: Json, seen: Seen, before: Mapping[str, Any], seconds: float) -> None:
    """After `seconds` the same processes run, and the health path answers. Raises StepError once it is sure."""
    time.sleep(max(0.0, seconds))
    # A process that cannot be seen in /proc is asked for every time.
    if any(not start or began(pid) != start for pid, start in seen.processes.items()):
        look(args, seen, before)
    begin = time.monotonic()
    good, found = probed(args, PROBE_SECONDS)
    seen.slowest = max(seen.slowest, time.monotonic() - begin)
    seen.probes += 1
    seen.failures += not good
    seen.row = 0 if good else seen.row + 1
    if seen.row >= PROBES_IN_A_ROW:
        look(args, seen, before)
        raise StepError("health", f"unhealthy {seen.row} times in a row: {found}")


def during(args: Json, seen: Seen, before: Mapping[str, Any], work: Callable[[], None]) -> None:
    """`work` is done, and the service was watched meanwhile: one that dies is seen before its answer is overdue."""
    raised: list[StepError] = []

    def run() -> None:
        try:
            work()
        except StepError as failure:
            raised.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(POLL_SECONDS)
    while thread.is_alive():
        tick(args, seen, before, 0.0)
        thread.join(POLL_SECONDS)
    if raised:
        # That it was started over says more than that an answer broke off; systemd hears of an end a moment later.
        time.sleep(POLL_SECONDS)
        look(args, seen, before)
        raise raised[0]


def generated(args: Json, seen: Seen) -> None:
    """One real answer. An engine that has no room just now is asked again until the time for an answer is over."""
    end = time.monotonic() + args["generation_seconds"]
    while True:
        try:
            seen.generations.append(generating(args))
            return
        except BusyError:
            if time.monotonic() + POLL_SECONDS > end:
                raise
            time.sleep(POLL_SECONDS)


def page_answers(args: Json) -> None:
    """The chat page beside the engine answers, where the plan has one. Raises StepError otherwise."""
    found = (page(args["webui"]) or gatedocker.page_of_another(args)) if args["webui"] else ""
    if found:
        raise StepError("webui", f"the chat page does not answer on port {args['webui']['port']}: {found}")


if __name__ == "__main__":
    serve(globals(), {"watch": watch}, changes=False)
