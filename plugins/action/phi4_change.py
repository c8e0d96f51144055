# SPDX-License-Identifier: GPL-3.0-or-later
"""From a release's files to its receipt in one task: what the roles service, health and receipt do in many."""

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

    `done` is false, and nothing was changed, where the host's committed release is made of something else after all.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = False
    _supports_diff = True
    _VALID_ARGS = frozenset(
        {
            "plan", "images", "root", "state", "inherit", "restart", "forget", "start_seconds", "generation_seconds",
            "stability_seconds",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a series of the roles' own operations."""
        super().run(tmp, task_vars)
        plan, variables = self._task.args["plan"], task_vars or {}
        if not plan:
            return action.unplanned()
        args = self._task.args
        try:
            wanted = change.Change(
                plan, action.placed(args), str(variables.get("inventory_hostname")),
                {name: float(args[name]) for name in TIMES}, boolean(args.get("restart", False)),
                boolean(args.get("forget", False)),
            )  # fmt: skip
            return self._changed(wanted, variables)
        except Phi4EdgeError as error:
            return action.failure(error)

    def _changed(self, wanted: change.Change, variables: dict[str, Any]) -> dict[str, Any]:
        there = wanted.there
        shared = {**there.to_dict(), "receipt": f"{there.state}/receipt.json", "check": False, "diff": self._task.diff}
        inherit = settings_alone(wanted.plan) and boolean(self._task.args.get("inherit", True))
        images, before = self._task.args.get("images") or {}, [wanted.inherits] if inherit else []
        if inherit and wanted.plan["service_manager"] == "compose":  # its files name images as the host knows them
            first = before.pop()
            found = action.on_host(self, variables, first.operation, {**shared, **first.args})
            if not found["complete"]:
                return change.not_done(change.OTHERWISE)
            images = found["images"]
        steps = wanted.steps(images, before)
        answers = action.on_host_in_turn(self, variables, steps, shared)
        try:
            action.accepted(answers[-1])
        except Phi4EdgeError as error:
            if not change.rehearsing(steps, answers):
                raise
            action.on_host(self, variables, change.REST, shared)
            return {**action.failure(error), "msg": change.unrehearsed(wanted.plan["release"], error)}
        return change.result(steps, answers)
