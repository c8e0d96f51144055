# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks phi4_edge.core what a host shall run: the same decision as `phi4-edge plan`, never a second copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import data
    from phi4_edge.core.facts import parse
    from phi4_edge.core.plan.decide import decide
    from phi4_edge.core.plan.overrides import Overrides
    from phi4_edge.credentials.hosts import Client
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import planning
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_plan`: sets the fact `phi4_plan`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset({"facts", "store", "expected"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The plan as `phi4_plan`, or a failure that says found, needed, and what to do."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host = str(variables.get("inventory_hostname"))
        if not self._task.args["facts"]:
            raise AnsibleActionFail(
                "found no fact phi4_facts, needed it; include phi4_edge.edge.probe before this role"
            )
        wishes = planning.wishes(variables, self._templar.template)
        try:
            inputs = planning.inputs(Path(self._task.args["store"]).expanduser())
            seen, wanted = parse.parse(self._task.args["facts"]), Overrides.from_vars(host, wishes)
            if wanted.gateway:
                client = Client(wanted, *planning.place(variables, self._templar.template))
                inputs = replace(inputs, credentials=client.wanted())
            plan = decide(seen, data.load_table(), data.load_catalog(), wanted, inputs)
        except Phi4EdgeError as error:
            raise AnsibleActionFail(str(error)) from None
        document = plan.to_dict()
        reason = planning.refusal(plan, str(self._task.args.get("expected") or ""))
        if reason:
            return {"changed": False, "failed": True, "msg": reason, "phi4_plan": document}
        return {"changed": False, "phi4_plan": document, "ansible_facts": {"phi4_plan": document}}
