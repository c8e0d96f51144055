# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a host for everything that may be in the way, and measures what a command over its connection costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, framing
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

SUDO_ROUNDS = 5
OVER_SSH = ("ssh", "smart")


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_doctor`: sets the fact `phi4_doctor`. Only a connection that breaks makes it fail."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"rounds", "root", "state"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The document, also where a part of it could not be had: that part holds the reason."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        try:
            return {"changed": False, "ansible_facts": {"phi4_doctor": self._document()}}
        except Phi4EdgeError as error:
            return action.failure(error)

    def _document(self) -> dict[str, Any]:
        rounds = int(self._task.args.get("rounds", 5))
        over_ssh = self._connection.transport in OVER_SSH
        trips, noise = self._trips(rounds if over_ssh else 0, sudoable=False)
        login = self._ask("login", {"measure": over_ssh}, sudoable=False)
        root = self._ask("doctor", {"layout": action.placed(self._task.args).to_dict()}, sudoable=True)
        becomes = self._connection.become is not None and "error" not in root
        return {
            "format": "phi4-edge/doctor-host/1",
            "transport": str(self._connection.transport),
            "trips": trips,
            "sudo_trips": self._trips(SUDO_ROUNDS, sudoable=True)[0] if becomes and over_ssh else [],
            "noise": noise,
            "login": login,
            "root": root,
        }

    def _trips(self, rounds: int, sudoable: bool) -> tuple[list[float], str]:
        """Seconds of each of `rounds` commands that do nothing, and what came back although nothing was said."""
        taken, said = [], ""
        for number in range(rounds + 1 if rounds else 0):
            began = time.monotonic()
            output = action.nothing(self, sudoable)
            if number:  # the first one opens the connection
                taken.append(time.monotonic() - began)
            said = said or output
        return taken, framing.excerpt(said)

    def _ask(self, name: str, args: Mapping[str, Any], sudoable: bool) -> dict[str, Any]:
        """The answer of one of this role's scripts with the times around it, or {"error": why there is none}."""
        before = time.time()
        try:
            answer = action.on_host(self, self._variables, ("doctor", name, name), args, sudoable=sudoable)
        except AnsibleConnectionFailure:
            raise
        except (AnsibleError, Phi4EdgeError) as error:
            return {"error": str(error)}
        if "unmeasured" in answer:
            answer["error"] = answer.pop("unmeasured")
        return {**answer, "before": before, "after": time.time()}
