# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a host for everything that may be in the way, and measures what a command over its connection costs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from phi4_edge import content
from phi4_edge.core import framing, hostcall
from phi4_edge.errors import FactsError

DOCUMENTATION = """
module: phi4_doctor
short_description: Returns what may be in the way of provisioning a host, as raw text and times
description: Changes nothing; supports check mode. Sets the fact C(phi4_doctor).
options:
  rounds:
    description: Trivial commands over the connection, of which the quickest counts.
    type: int
    default: 5
"""
SUDO_ROUNDS = 5
OVER_SSH = ("ssh", "smart")


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_doctor`: sets the fact `phi4_doctor`. Only a connection that breaks makes it fail."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"rounds"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The document, also where a part of it could not be had: that part holds the reason."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        rounds = int(self._task.args.get("rounds", 5))
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        over_ssh = self._connection.transport in OVER_SSH
        trips, noise = self._trips(rounds if over_ssh else 0, sudoable=False)
        login = self._ask("login", python, {"measure": over_ssh}, sudoable=False)
        root = self._ask("doctor", python, {}, sudoable=True)
        becomes = self._connection.become is not None and "error" not in root
        document = {
            "format": "phi4-edge/doctor-host/1",
            "transport": str(self._connection.transport),
            "trips": trips,
            "sudo_trips": self._trips(SUDO_ROUNDS, sudoable=True)[0] if becomes and over_ssh else [],
            "noise": noise,
            "login": login,
            "root": root,
        }
        return {**result, "changed": False, "ansible_facts": {"phi4_doctor": document}}

    def _trips(self, rounds: int, sudoable: bool) -> tuple[list[float], str]:
        """Seconds of each of `rounds` commands that do nothing, and what came back although nothing was said."""
        taken, said = [], ""
        for number in range(rounds + 1 if rounds else 0):
            began = time.monotonic()
            done = self._low_level_execute_command("true", sudoable=sudoable)
            if number:  # the first one opens the connection
                taken.append(time.monotonic() - began)
            said = said or str(done.get("stdout") or "")
        return taken, framing.excerpt(said)

    def _ask(self, name: str, python: str | None, args: Mapping[str, Any], sudoable: bool) -> dict[str, Any]:
        """The answer of one of this role's scripts with the times around it, or {"error": why there is none}."""
        text, modules = content.host_script("doctor", name)
        script = hostcall.compose(text, modules)
        if name == "doctor":
            tools = content.roles() / "probe" / "files" / "tools.py"
            script = f"{tools.read_text(encoding='utf-8')}\n{text}"
        before = time.time()

        def execute(line: str, in_data: bytes) -> Mapping[str, Any]:
            found: Mapping[str, Any] = self._low_level_execute_command(line, in_data=in_data, sudoable=sudoable)
            return found

        try:
            answer = hostcall.call(execute, secrets.token_hex(8), python, script, args)
        except AnsibleConnectionFailure:
            raise
        except (AnsibleError, FactsError) as error:
            return {"error": str(error)}
        return {**answer, "before": before, "after": time.time()}
