"""Host side of the lock: take it, wait for it, release it, say who has it."""

from __future__ import annotations

import os
import signal
import time

import hostjournal
import hostlayout
import hostlock
import hostrun
from hostlib import HostError, Json
from hostlockstate import lock_lives, lock_read
from hostrun import serve

POLL = 0.25
# After a lock became stale: its keeper is looked at once in this time, and a script of its run may be ending.
GRACE_SECONDS = 15.0
# What a caller is told about the holder; all of it is written by the holder itself.
SHOWN = ("id", "user", "host", "pid", "operation", "version", "started", "age", "left", "state")


def take(args: Json, _payload: bytes) -> Json:
    """The host is this run's, or the answer says whose it is.

    A living run is waited for `wait` seconds; one whose connection is gone until its lock is stale, as long as that
    is about as far away as with a lock of ours. `gone`: the id of a run whose controller is known to be dead.
    """
    must_be_root(os.geteuid())
    must_be_here(args)
    hostjournal.boundary("lock", "before")
    wish = dict(args["wish"], watch=hostlock.ancestor(args["controller"]), controller=args["controller"])
    asked, begun, before = wish.pop("asked"), time.monotonic(), None
    while True:
        # In the time of the controller, which the holder's user can compare with his own.
        wish["started"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(asked + time.monotonic() - begun))
        found = attempt(wish, args)
        waited = time.monotonic() - begun
        if found["state"] == "taken":
            hostjournal.boundary("lock", "after")
            return {"state": "taken", "waited": round(waited, 1), "waited_for": before, "taken_from": found["before"]}
        before = before or shown(found)
        if waited >= limit(found, args):
            who = (lock_read(hostlock.path_of(args["folder"])) or {}).get("controller")
            return {"state": "held", "holder": dict(shown(found), controller=who), "waited": round(waited, 1)}
        if not lock_lives(wish["watch"]):
            raise HostError("the connection ended while the lock was waited for")
        time.sleep(POLL)


def must_be_root(uid: int) -> None:
    """Raises HostError for a user who could not keep others out."""
    if uid:
        raise HostError(f"found uid {uid} on this host, needed root for its lock: set ansible_become=true")


def must_be_here(args: Json) -> None:
    """Raises HostError where what is installed lies elsewhere: the lock of its runs is there too."""
    wrong = hostlayout.elsewhere(str(args.get("root") or ""), str(args["folder"]))
    if wrong:
        raise HostError(wrong)


def limit(found: Json, args: Json) -> float:
    """Seconds that a host in this state is waited for in all."""
    wait = float(args["wait"])
    if found["state"] == "held":
        return wait
    return max(wait, float(args["wish"]["stale_seconds"]) + GRACE_SECONDS)


def attempt(wish: Json, args: Json) -> Json:
    """Who holds the host now; `state` is "taken" when that is this run since this moment."""
    folder = args["folder"]
    with hostlock.guard():
        found = hostlock.state(folder)
        if found["present"] and found["id"] == args.get("gone") and found["state"] == "held":
            hostlock.end((lock_read(hostlock.BEAT) or {}).get("keeper"), signal.SIGTERM)
            return dict(found, state="ending")
        if found["present"] and found["id"] == wish["id"] and not elsewhere(found, wish, folder):
            if found["state"] != "held":
                hostlock.claim(wish, folder)
            return {"state": "taken", "before": None}
        if found["present"] and found["state"] != "stale":
            return found
        if not found["present"]:
            hostlock.claim(wish, folder)
            return {"state": "taken", "before": None}
        # A step of the dead run may still be at work, for it ends with its work and not with its connection.
        with hostrun.idle() as idle:
            if not idle:
                return dict(found, state="working")
            hostlock.claim(wish, folder)
        return {"state": "taken", "before": shown(found)}


def elsewhere(found: Json, wish: Json, folder: str) -> bool:
    """Whether this very run lives in another process, as on a worker that was given up too early: then it is held."""
    theirs = (lock_read(hostlock.path_of(folder)) or {}).get("controller")
    return bool(found["state"] == "held" and theirs != wish["controller"])


def shown(found: Json) -> Json:
    """What is told about a holder."""
    return {name: found[name] for name in SHOWN if name in found}


def release(args: Json, _payload: bytes) -> Json:
    """The host is not this run's any more; another's lock stays. A journal that nothing was switched for is closed."""
    hostjournal.boundary("unlock", "before")
    with hostlock.guard():
        mine = hostlock.ours(args["wish"]["id"], args["folder"])
        if mine:
            hostjournal.close(args["folder"])
        hostlock.drop(args["folder"], args["wish"]["id"])
    hostjournal.boundary("unlock", "after")
    return {"released": mine}


def show(args: Json, _payload: bytes) -> Json:
    """Who holds the host."""
    return {"holder": hostlock.state(args["folder"])}


def clear(args: Json, _payload: bytes) -> Json:
    """Nobody holds the host; a run that lives, or a step of it that is still at work, is in the way without `force`."""
    with hostlock.guard(), hostrun.idle() as idle:
        found = hostlock.state(args["folder"])
        free = found["present"] and ((found["state"] != "held" and idle) or args["force"])
        if free:
            hostlock.drop(args["folder"], found["id"])
    return {"released": bool(free), "holder": found, "working": not idle}


if __name__ == "__main__":
    serve(globals(), {"take": take, "release": release, "show": show, "clear": clear}, changes=False)
