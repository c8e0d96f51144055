"""The journal of a host: which step of which release began, ended or failed last, written before and after each.

A run that was cut leaves it open, and the next one sees in it how far the host got: see `phi4_edge.core.facts.journal`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Iterator

from hostlib import HostError, Json, own_directory, read_json, write_json
from hostlockstate import lock_read
from hostprivate import read_private, write_new

FORMAT = "phi4-edge/journal/1"
NAME = "journal.json"
MOST_RECORDS = 40
# Root may put it there to have a step fail or wait: so tests cut runs at every boundary. See `boundary`.
HOOK = "/run/phi4-edge-hook"
HOOK_SECONDS = 120.0
# What each operation of a host script is a step of; those that only look, or clean up, are none.
STEPS = {
    **dict.fromkeys(("finish", "load", "pull", "tag"), "stage"),  # what is delivered
    **dict.fromkeys(("build", "create", "check", "prepare", "inherit", "stage", "rehearse"), "stage"),  # what is made
    **dict.fromkeys(("repository", "install", "merge", "run", "reload"), "stage"),  # packages and Docker's daemon
    **dict.fromkeys(("settings", "cdi", "nouveau"), "stage"),  # NVIDIA's
    **{name: name for name in ("verify", "switch", "commit", "rollback")},
    "gate": "probe",
}
REHEARSAL = "phi4-edge-rehearsal.service"
BEFORE_SWITCH = ("stage", "verify")


def step_of(args: Json) -> str:
    """The step that an operation belongs to, "" for none and in check mode."""
    step = STEPS.get(str(args.get("do")), "") if not args.get("check") else ""
    return "stage" if step == "probe" and args.get("unit") == REHEARSAL else step


@contextlib.contextmanager
def recorded(args: Json) -> Iterator[None]:
    """The operation of a script is in the journal: before it, and after it or as failed.

    Only that of a run under a lock, `args["lock"]`: a script alone has no journal. The way back goes on where the
    journal cannot be written.
    """
    step = step_of(args)
    if not step:
        yield
        return
    noted(args, step, "before")
    try:
        boundary(step, "before")
        yield
        noted(args, step, "after")
        boundary(step, "after")
    except BaseException as error:  # also the end of its time, which is no Exception
        with contextlib.suppress(OSError):  # what went wrong is told, also where nobody can write it down
            noted(args, step, "failed", str(error))
        raise


def noted(args: Json, step: str, phase: str, error: str = "") -> None:
    """The journal says that this run is there, durably. Nothing happens outside of a lock, nor without root.

    Nor where another run has the lock by now: a gate that goes on after its run must not write over that run's steps.
    """
    held = args.get("lock") or {}
    if not held or unprivileged():
        return
    lock = lock_read(os.path.join(str(held["folder"]), "lock"))
    if lock is not None and lock.get("id") != held["id"]:
        return
    try:
        write(str(held["folder"]), held, step, phase, dict(args, error=error))
    except OSError:
        if step != "rollback":
            raise


def unprivileged() -> bool:
    """Whether the script runs as somebody who has nothing to change on a host."""
    return os.geteuid() != 0


def write(folder: str, held: Json, step: str, phase: str, args: Json) -> None:
    """One more record, and what it makes of the journal's head."""
    path = os.path.join(folder, NAME)
    before = read_json(path)
    before = before if isinstance(before, dict) else {}
    same = before.get("id") == held["id"]
    release = args.get("release") or (args.get("body") or {}).get("release") or ""
    if step == "rollback" or not release:
        release = before.get("release") if same or step == "rollback" else ""
    head = {
        "format": FORMAT, "id": held["id"], "operation": held.get("operation", ""), "release": str(release or ""),
        "step": step, "phase": phase, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "closed": False,
    }  # fmt: skip
    record = {name: head[name] for name in ("id", "operation", "release", "step", "phase", "at")}
    record["do"] = args["do"]
    if args.get("error"):
        record["error"] = args["error"][:500]
    if same and step == "probe" and (before.get("step"), before.get("phase")) == ("rollback", "after"):
        # The gate of the release that was gone back to begins nothing.
        head = {name: before.get(name) for name in head}
    if step in BEFORE_SWITCH and switched(before):
        # It stays half done until a later step takes over: a cut now must not look like one before the switch.
        head = dict({name: before.get(name) for name in head}, id=head["id"], operation=head["operation"])
    records = before.get("records")
    kept = records[1 - MOST_RECORDS :] if isinstance(records, list) else []
    own_directory(folder, 0o755)
    write_json(path, dict(head, records=[*kept, record]))


def switched(journal: Json) -> bool:
    """Whether this entry leaves open what the host runs, as `phi4_edge.core.facts.journal` says."""
    step, phase = journal.get("step"), journal.get("phase")
    open_ = step in ("switch", "probe", "commit", "rollback") and not journal.get("closed")
    return open_ and (step, phase) not in (("commit", "after"), ("rollback", "after"))


def close(folder: str) -> None:
    """A run ended by itself: where it had not come to the switch, nothing is half done."""
    path = os.path.join(folder, NAME)
    journal = read_json(path)
    if isinstance(journal, dict) and journal.get("step") in BEFORE_SWITCH and not journal.get("closed"):
        with contextlib.suppress(OSError):  # a full disk must not keep the lock; nobody undoes what was not switched
            write_json(path, dict(journal, closed=True))


def boundary(step: str, phase: str) -> None:
    """What a test wants to happen here. {"at": "switch:before", "do": "fail"} raises HostError; "wait" waits.

    Waiting is over when the hook is gone, or after two minutes; who set it sees by `<hook>.reached` that it began.
    """
    hook = hooked()
    if hook.get("at") != f"{step}:{phase}":
        return
    if hook.get("do") == "fail":
        raise HostError(f"the test hook {HOOK} made {step}:{phase} fail")
    if hook.get("do") == "wait":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(HOOK + ".reached")
        write_new(HOOK + ".reached", f"{step}:{phase}\n")
        end = time.monotonic() + HOOK_SECONDS
        while os.path.lexists(HOOK) and time.monotonic() < end:
            time.sleep(0.05)


def hooked() -> Json:
    """The hook; {} where there is none, or one that somebody else than root could have put there."""
    try:
        hook = json.loads(read_private(HOOK, 4096) or b"")
    except ValueError:
        return {}
    return hook if isinstance(hook, dict) else {}
