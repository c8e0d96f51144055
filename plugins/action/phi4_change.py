# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of settings alone, in one task: what the roles service, health and receipt do in many."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.plan.changes import settings_alone
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, change
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

TIMES = ("start_seconds", "generation_seconds", "stability_seconds")


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_change`: the release of the plan is staged, rehearsed, switched to, proven and committed.

    `done` is false, and nothing was changed, where more than settings differ.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = False
    _supports_diff = True
    _VALID_ARGS = frozenset({"plan", "root", "state", "restart", "forget", *TIMES})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a series of the roles' own operations."""
        super().run(tmp, task_vars)
        plan, variables = self._task.args["plan"], task_vars or {}
        if not plan:
            return action.unplanned()
        if not settings_alone(plan):
            return {"changed": False, "done": False, "msg": "more than settings differ"}
        try:
            return self._changed(plan, variables)
        except Phi4EdgeError as error:
            return action.failure(error)

    def _changed(self, plan: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        args, there = self._task.args, action.placed(self._task.args)
        times = {name: float(args[name]) for name in TIMES}
        steps = change.steps(
            plan, there, str(variables.get("inventory_hostname")), times,
            boolean(args.get("restart", False)), boolean(args.get("forget", False)),
        )  # fmt: skip
        shared = {**there.to_dict(), "receipt": f"{there.state}/receipt.json", "check": False, "diff": self._task.diff}
        answers = action.on_host_in_turn(self, variables, steps, shared)
        try:
            action.accepted(answers[-1])
        except Phi4EdgeError as error:
            if not change.rehearsing(steps, answers):
                raise
            action.on_host(self, variables, change.REST, shared)
            return {**action.failure(error), "msg": change.unrehearsed(plan["release"], error)}
        return change.result(steps, answers)
