# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the receipt of a committed release on the host, and removes what no release needs any more."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.facts import receipt
    from phi4_edge.remote import action
    from phi4_edge.remote.gate import committed
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_receipt`: the host remembers exactly what was done."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "root", "state", "plan", "images", "gate", "forget"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/receipt.py."""
        super().run(tmp, task_vars)
        variables, check = task_vars or {}, self._task.check_mode
        args = {**self._task.args, "check": check, "receipt": f"{self._task.args['state']}/receipt.json"}
        do, plan, gate = args.pop("do"), args.pop("plan", None), args.pop("gate", None) or {}
        images = args.pop("images", None) or {}
        if do == "sweep" and check:
            return {"changed": False, "skipped": True, "msg": "check mode: nothing was removed"}
        if do == "commit" and not plan:
            return action.unplanned()
        if do == "commit":
            if not check and gate.get("release") != plan["release"]:
                return {"changed": False, "failed": True, "msg": receipt.without_gate(plan["release"])}
            args |= committed(plan, images, str(variables.get("inventory_hostname")))
            args["proof"] = str(gate.get("proof") or "")
        return action.task(self, variables, ("receipt", "receipt", do), args)
