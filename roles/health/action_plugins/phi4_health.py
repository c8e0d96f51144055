# SPDX-License-Identifier: GPL-3.0-or-later
"""The health gate: passes only when the planned release really generates, and stays up."""

from __future__ import annotations

import secrets
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall, serving
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_health
short_description: Prove on the host that a release serves
description:
  - Unit active, health path, the planned release, the planned model, a real generation, where the plan wants it, and
    no restart in between. Under Compose also its container, its image and its own health check.
  - A failure names the step and brings the last lines of the journal. Skipped in check mode.
options:
  rehearsal: {description: Ask the rehearsal and not the service., type: bool, default: false}
  plan: {description: The plan whose release shall be serving., type: dict, required: true}
  start_seconds: {description: Longest time until the service is healthy., type: int, required: true}
  generation_seconds: {description: Longest time for the first short answer., type: int, required: true}
  stability_seconds: {description: Time for which it must stay up afterwards., type: float, required: true}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_health`: fails unless the plan's release serves."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"plan", "rehearsal", "start_seconds", "generation_seconds", "stability_seconds"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/gate.py on the host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "check mode: nothing was started"}
        script = hostcall.compose(*content.host_script("health", "gate"))
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        rehearsal = boolean(self._task.args.get("rehearsal", False))
        args = {"do": "gate", **serving.question(self._task.args["plan"], rehearsal)}
        for name in ("start_seconds", "generation_seconds", "stability_seconds"):
            args[name] = float(self._task.args[name])
        done = hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
        )
        return {**result, **done}
