# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the lock of a host for this run, releases it, or says who has it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.facts import lock
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, holder
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

SPARE_SECONDS = 120.0
# Longer than a run that got the first host takes to ask the next ones.
HEAD_START_SECONDS = 5.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_lock`: `take` sets the fact `phi4_lock` with `state` taken or held, `show` and `clear` with `holder`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "do", "root", "state", "id", "operation", "holder", "wait", "stale_seconds", "heartbeat_seconds", "force",
            "first",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The fact `phi4_lock` says who has the host; a host that another run has is no failed one here."""
        super().run(tmp, task_vars)
        self._variables, args = task_vars or {}, self._task.args
        if self._task.check_mode and args["do"] != "show":
            return told_as({"state": "unlocked", "message": ""})
        time.sleep(ahead(args.get("first") or {}, time.time()))
        try:
            fact = self._do(args["do"], args)
        except Phi4EdgeError as error:
            return action.failure(error)
        return told_as(fact) if fact else {"changed": False}

    def _do(self, do: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The fact `phi4_lock`; {} after a release."""
        # The play, which a task runs in a child of.
        own, there = holder.controller(os.getppid()), action.placed(args)
        at = {"root": there.root, "folder": there.state}
        wish = {**lock.wanted(args, own, holder.here(), time.time()), "persist": self._persist()}
        if do != "take":
            done = self._host(do, {"wish": wish, **at, "force": bool(args.get("force"))})
            return {} if do == "release" else lock.seen(done)
        asked = {"wish": wish, **at, "controller": own, "wait": float(args["wait"])}
        # As long as somebody is waited for, and until the lock of a run that died is stale.
        seconds = asked["wait"] + wish["stale_seconds"] + SPARE_SECONDS
        done = self._host(do, asked, seconds)
        found = done.get("holder") or {}
        if found.get("state") == "held" and lock.gone(found, own, holder.started):
            # Its connection lives on: plain ssh keeps it open for the next run, which is this one.
            done = self._host(do, {**asked, "gone": str(found.get("id"))}, seconds)
        return {**lock.told(done, {**wish, "folder": there.state}, own), "told": time.time()}

    def _persist(self) -> float:
        """Seconds that the connection to the host is kept open for the next task; 0 where each has one of its own."""
        if self._connection.transport != "ssh":
            return 0.0
        options = (self._connection.get_option(name) for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"))
        return lock.persistence(" ".join(str(words or "") for words in options))

    def _host(self, do: str, args: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """The answer of one operation of files/lock.py."""
        return action.on_host(self, self._variables, ("lock", "lock", do), args, seconds=seconds)


def ahead(first: Mapping[str, Any], now: float) -> float:
    """Seconds to leave to whoever has the first host of the play; `first` is that host's fact."""
    if first.get("state") != "held":
        return 0.0
    return min(HEAD_START_SECONDS, max(0.0, float(first.get("told", now)) + HEAD_START_SECONDS - now))


def told_as(fact: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a task that sets the fact."""
    return {"changed": False, "phi4_lock": dict(fact), "ansible_facts": {"phi4_lock": dict(fact)}}
