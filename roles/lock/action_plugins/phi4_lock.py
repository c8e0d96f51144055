# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the lock of a host for this run, releases it, or says who has it."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import __version__, content
    from phi4_edge.core import hostcall
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_lock
short_description: Take or release the lock of a host, or say who has it
description: One command on the host. Never a change in Ansible's sense; check mode asks nothing and takes nothing.
options:
  do: {description: What to do., type: str, required: true, choices: [take, release, show, clear]}
  folder: {description: Where the lock is on the host., type: path, required: true}
  id: {description: Of this run; empty makes one of the process that runs the play., type: str}
  operation: {description: What the run does (take)., type: str}
  holder: {description: "user, host, pid and version of the run, where it is not this play's (take).", type: dict}
  wait: {description: Seconds to wait for a run that lives (take)., type: float}
  stale_seconds: {description: Seconds after the last sign of life (take)., type: float}
  heartbeat_seconds: {description: Seconds between signs of life (take)., type: float}
  first: {description: Result of the first host of the play; where that is held this one is left alone., type: dict}
  force: {description: Interrupt a run that lives (clear)., type: bool}
"""
# Of every holder that a host tells of, for its words come from elsewhere.
MOST_TEXT = 200


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_lock`: `take` sets the fact `phi4_lock` with `state` taken or held, `show` and `clear` with `holder`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "do", "folder", "id", "operation", "holder", "wait", "stale_seconds", "heartbeat_seconds", "first", "force",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The fact `phi4_lock` says who has the host; a host that another run has is no failed one here."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        if self._task.check_mode and args["do"] != "show":
            fact = {"state": "unlocked", "message": ""}
            return {**result, "changed": False, "phi4_lock": fact, "ansible_facts": {"phi4_lock": fact}}
        first = (args.get("first") or {}).get("phi4_lock") or {}
        if first.get("state") == "held":
            fact = {**first, "message": str(first["message"])}
            return {**result, "changed": False, "phi4_lock": fact, "ansible_facts": {"phi4_lock": fact}}
        done = self._do(args["do"], args, str((task_vars or {}).get("inventory_hostname")))
        if "phi4_lock" in done:
            done["ansible_facts"] = {"phi4_lock": done["phi4_lock"]}
        return {**result, **done}

    def _do(self, do: str, args: Mapping[str, Any], name: str) -> dict[str, Any]:
        own = controller()
        lock = wanted(args, own)
        if do != "take":
            done = self._host({"do": do, "wish": lock, "folder": args["folder"], "force": bool(args.get("force"))})
            if do == "release" or done.get("failed"):
                return done
            return {**done, "phi4_lock": seen(done)}
        asked = {"do": do, "wish": lock, "folder": args["folder"], "controller": own, "wait": float(args["wait"])}
        done = self._host(asked)
        holder = done.get("holder") or {}
        if holder.get("state") == "held" and gone(holder, own):
            # Its connection lives on: plain ssh keeps it open for the next run, which is this one.
            done = self._host({**asked, "gone": str(holder.get("id"))})
        return (
            done if done.get("failed") else {**done, "phi4_lock": told(done, {**lock, "folder": args["folder"]}, own)}
        )

    def _host(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of one operation of files/lock.py."""
        script = hostcall.compose(*content.host_script("lock", "lock"))
        return hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            self._templar.template(self._templar.available_variables.get("ansible_python_interpreter")),
            script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
        )


def controller() -> dict[str, Any]:
    """The process that runs the play, so that whoever is on the same machine can see whether it lives."""
    pid = os.getppid()  # a task runs in a child of it
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return {
        "boot_id": boot.read_text().strip() if boot.exists() else "",
        "space": str(space.readlink()) if space.is_symlink() else "",
        "pid": pid,
        "start": started(pid),
    }


def started(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def gone(holder: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the holder ran its play on this machine and that has ended without a release.

    Containers share the boot of their machine, but not its processes: what cannot be seen from here may well live.
    """
    theirs = holder.get("controller")
    same = isinstance(theirs, Mapping) and all(
        own[name] and theirs.get(name) == own[name] for name in ("boot_id", "space")
    )
    if not isinstance(theirs, Mapping) or not same:
        return False
    pid, start = theirs.get("pid"), theirs.get("start")
    return isinstance(pid, int) and isinstance(start, int) and start > 0 and started(pid) != start


def wanted(args: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What the lock of this run says. A plain run's id comes from its process: the same on all its hosts."""
    made = hashlib.sha256(f"{socket.gethostname()} {own['boot_id']} {own['pid']} {own['start']}".encode()).hexdigest()
    holder = {"user": getpass.getuser(), "host": socket.gethostname(), "pid": own["pid"], "version": __version__}
    holder |= {name: value for name, value in (args.get("holder") or {}).items() if name in holder}
    return {
        **{name: str(value)[:MOST_TEXT] for name, value in holder.items()},
        "pid": int(holder["pid"]),
        "id": str(args.get("id") or f"play-{made[:12]}"),
        "operation": str(args.get("operation") or "")[:MOST_TEXT],
        "asked": time.time(),
        "stale_seconds": float(args.get("stale_seconds") or 30),
        "heartbeat_seconds": float(args.get("heartbeat_seconds") or 10),
    }


def readable(holder: Mapping[str, Any]) -> dict[str, Any]:
    """A holder in the host's words, without anything that a terminal obeys."""
    return {
        name: "".join(c if c.isprintable() else "?" for c in value[:MOST_TEXT]) if isinstance(value, str) else value
        for name, value in holder.items()
        if isinstance(value, (str, int, float, bool))
    }


def told(done: Mapping[str, Any], lock: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The fact `phi4_lock`. `message`: who was in the way, in words."""
    if done["state"] == "taken":
        fact = {name: lock[name] for name in ("id", "operation", "folder")}
        before = readable(done.get("taken_from") or {})
        message = f"took over the lock of {described(before)}, whose last sign of life was long ago" if before else ""
        return {**fact, "state": "taken", "controller": dict(own), "waited": done["waited"], "message": message}
    holder = readable(done["holder"])
    return {"state": "held", "holder": holder, "waited": done["waited"], "message": in_the_way(holder)}


def seen(done: Mapping[str, Any]) -> dict[str, Any]:
    """The fact `phi4_lock` of somebody who only looks, or takes a lock away."""
    holder = readable(done["holder"])
    refused = done.get("released") is False and bool(holder.get("present"))
    needed = "wait for that run, or end it, or take the lock away from it: phi4-edge lock release --force"
    what = "which lives" if holder.get("state") == "held" else "a step of which is still at work"
    message = f"found the lock of {described(holder)}, {what}; {needed}" if refused else ""
    return {"holder": holder, "released": bool(done.get("released")), "refused": refused, "message": message}


def described(holder: Mapping[str, Any]) -> str:
    """Who holds a host, in words."""
    who = f"{holder.get('user') or 'somebody'}@{holder.get('host') or 'somewhere'}"
    return f"{who} ({holder.get('operation') or 'a run'} since {holder.get('started')}, pid {holder.get('pid')})"


def in_the_way(holder: Mapping[str, Any]) -> str:
    """Found, needed, and what to do about the holder of a lock."""
    found = f"found the lock of {described(holder)}, needed it free"
    if holder.get("state") == "held":
        return f"{found}: wait for that run, or --lock-wait SECONDS, or phi4-edge lock release"
    if holder.get("state") == "working":
        return f"{found}: that run is dead, but a step of it is still at work on the host; try again when it has ended"
    return f"{found}: that run gives no sign of life any more, and its lock ends in {holder.get('left', 0):.0f} s"
