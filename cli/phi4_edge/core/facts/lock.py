"""Who has a host to itself: what a run says of itself, and what is made of a host's word about whoever holds it.

All that a host tells of a holder is its own claim, and written by others: it is bounded and typed here, counts for that
host alone, and is told as what that host says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from phi4_edge.core.text import clean, joined
from phi4_edge.errors import FactsError

TEXTS = ("id", "user", "host", "operation", "version", "started")
# held: its run lives. ending: it does not, but its last sign of life is not long ago. stale: anyone may take it.
# working: that run is dead, and a step of it is still at work on the host.
STATES = ("held", "ending", "stale", "working")
# What a host that was asked says besides: nobody has it, or the lock was taken away just now.
FREE, RELEASED = "free", "released"
# What a state means, for whoever meets it for the first time.
NOTES = {
    "ending": "that run sends no heartbeat any more; soon another one may take over the lock",
    "stale": "that run is dead; the next one takes over the lock",
}
# Characters of each text of a holder.
MOST_TEXT = 200
# Largest process id of Linux (PID_MAX_LIMIT), and more seconds than anybody waits: a bound against nonsense.
MOST_PID, MOST_SECONDS = 1 << 22, 1e9
# Nobody is called so; Ansible reads them as the begin and the end of a template.
_NO_BRACES = str.maketrans("{}", "??")
HeldBy = Mapping[str, Any]
_SHARED = re.compile(r"""controlpersist[=\s"']+([0-9a-z]+)""", re.IGNORECASE)
_TIME, _UNITS = re.compile(r"([0-9]{1,9})([smhdw]?)"), {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def wanted(args: Mapping[str, Any], own: Mapping[str, Any], here: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what the lock of this run says.

    `own`: the process that runs the play (boot_id, space, pid, start). `here`: user, host and version of this machine,
    where the task does not name others. `now`: seconds since the epoch. A run without an id gets one from its process:
    the same on all its hosts.
    """
    made = hashlib.sha256(f"{here['host']} {own['boot_id']} {own['pid']} {own['start']}".encode()).hexdigest()
    holder = {"user": here["user"], "host": here["host"], "pid": own["pid"], "version": here["version"]}
    holder |= {name: value for name, value in (args.get("holder") or {}).items() if name in holder}
    return {
        **{name: str(value)[:MOST_TEXT] for name, value in holder.items()},
        "pid": int(holder["pid"]),
        "id": str(args.get("id") or f"play-{made[:12]}"),
        "operation": str(args.get("operation") or "")[:MOST_TEXT],
        "asked": now,
        "stale_seconds": float(args.get("stale_seconds") or 30),
        "heartbeat_seconds": float(args.get("heartbeat_seconds") or 10),
    }


def gone(holder: Mapping[str, Any], own: Mapping[str, Any], started: Callable[[int], int]) -> bool:
    """Return whether the holder ran its play on this machine and that has ended without a release.

    `started`: when a process of this machine began, in clock ticks since boot; 0 where there is none. Containers share
    the boot of their machine, but not its processes: what cannot be seen from here may well live.
    """
    theirs = holder.get("controller")
    if not isinstance(theirs, Mapping):
        return False
    if not all(own[name] and theirs.get(name) == own[name] for name in ("boot_id", "space")):
        return False
    pid, start = theirs.get("pid"), theirs.get("start")
    return _is_number(pid) and 0 < pid <= MOST_PID and _is_number(start) and start > 0 and started(pid) != start


def readable(holder: object) -> dict[str, Any]:
    """Return a holder as a host tells of it: these names and types, one printable line each, and nothing else.

    A `state` that we do not know is `held`: nobody touches such a host. {"present": False} for nobody.
    """
    if not isinstance(holder, Mapping) or not holder or holder.get("present") is False:
        return {"present": False}
    pid, state = holder.get("pid"), holder.get("state")
    return {
        "present": True,
        **{name: clean(holder.get(name), MOST_TEXT).translate(_NO_BRACES) for name in TEXTS},
        "pid": pid if _is_number(pid) and 0 < pid <= MOST_PID else 0,
        **{name: _seconds(holder.get(name)) for name in ("age", "left")},
        "state": state if state in STATES else "held",
    }


def told(done: Mapping[str, Any], lock: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fact `phi4_lock` of a host that was asked for its lock. `message`: who was in the way, in words.

    Raises FactsError for an answer that says neither that it is ours nor that it is another's.
    """
    waited = _seconds(done.get("waited"))
    if done.get("state") == "taken":
        fact = {name: lock[name] for name in ("id", "operation", "folder")}
        before = readable(done.get("taken_from"))
        said = f"took over the lock of {described(before)}, whose last heartbeat was long ago"
        message = said if before["present"] else ""
        return {**fact, "state": "taken", "controller": dict(own), "waited": waited, "message": message}
    if done.get("state") != "held":
        raise FactsError(f"found the state {clean(done.get('state'), 40) or 'none'} of the lock, needed taken or held")
    holder = readable(done.get("holder"))
    return {"state": "held", "holder": holder, "waited": waited, "message": in_the_way(holder)}


def seen(done: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fact `phi4_lock` of somebody who only looks, or takes a lock away."""
    holder, released = readable(done.get("holder")), done.get("released") is True
    refused = done.get("released") is False and holder["present"]
    needed = "wait for that run, or stop it, or release its lock: phi4-edge lock release --force"
    what = "which is alive" if holder.get("state") == "held" else "which still has a step at work"
    message = f"{found(holder)}, {what}; {needed}" if refused else ""
    return {"holder": holder, "released": released, "refused": refused, "message": message}


def standing(fact: Mapping[str, Any]) -> str:
    """Return how it stands with a lock, of a fact as `seen` returns it: free, released, or a state of its holder."""
    if fact["holder"].get("present") is not True:
        return FREE
    return RELEASED if fact.get("released") is True else str(fact["holder"].get("state") or "stale")


def line(host: str, fact: Mapping[str, Any]) -> str:
    """Return who has a host, or had it until now."""
    state, holder = standing(fact), fact["holder"]
    if state == FREE:
        return joined(host, FREE)
    note = f"; {NOTES[state]}" if state in NOTES else ""
    return joined(host, f"{state}, {described(holder)}{note}")


def who(holder: HeldBy) -> str:
    """Return whose run holds a host."""
    return f"{holder.get('user') or 'somebody'}@{holder.get('host') or 'somewhere'}"


def described(holder: HeldBy) -> str:
    """Return who holds a host, doing what and since when, in words."""
    since = holder.get("started") or "an unknown time"
    return f"{who(holder)} ({holder.get('operation') or 'a run'} since {since}, pid {holder.get('pid') or 'unknown'})"


def found(holder: HeldBy) -> str:
    """Return what was found where somebody else holds a host: that host's own claim."""
    return f"found it locked, according to this host, by {described(holder)}"


def in_the_way(holder: HeldBy) -> str:
    """Return found, needed, and what to do about the holder of a lock."""
    said = f"{found(holder)}; needed it unlocked"
    if holder.get("state") == "working":
        return f"{said}: that run is dead, but a step of it is still at work on the host; try again when it has ended"
    if holder.get("state") in ("ending", "stale"):
        return f"{said}: that run sends no heartbeat any more, and its lock expires in {holder.get('left', 0):.0f} s"
    return f"{said}: wait for that run, or --lock-wait SECONDS, or phi4-edge lock release"


def persistence(words: str) -> float:
    """Return for how many seconds ssh with these options keeps a connection open for the next one; 0 for not at all.

    The first of several settings counts, as with ssh.
    """
    found, plain = _SHARED.search(words), words.lower()
    if found is None or any(f"control{off}" in plain for off in ("path=none", "master=no", "master no", "path none")):
        return 0.0
    time = found[1].lower()
    if time in ("yes", "true", "0"):
        return MOST_SECONDS
    return min(MOST_SECONDS, float(sum(int(number) * _UNITS[unit] for number, unit in _TIME.findall(time))))


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST_SECONDS:
        return float(value)
    return 0.0
