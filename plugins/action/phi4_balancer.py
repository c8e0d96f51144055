# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a host a balancer in front of gateways, drains one of these, or takes the balancer away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.layout import BALANCER_UNIT, Layout
    from phi4_edge.core.plan.overrides import Overrides
    from phi4_edge.core.release import balancer_unit
    from phi4_edge.core.values import optional_line
    from phi4_edge.credentials import balancers
    from phi4_edge.credentials.hosts import Client
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, balancing, planning
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_balancer`: one operation of files/balancer.py. Neither a key nor a private key is an argument."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "state", "gateways", "answer_seconds", "gateway", "seconds"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the operation."""
        super().run(tmp, task_vars)
        variables, args = task_vars or {}, self._task.args
        told = {"folder": Layout(state=str(args["state"])).balancer, "check": self._task.check_mode}
        if args["do"] in ("drain", "ready"):
            told |= {"gateway": str(args.get("gateway") or ""), "seconds": int(args.get("seconds") or 0)}
        if args["do"] != "serve":
            return action.task(self, variables, ("balancer", "balancer", str(args["do"])), told)
        try:
            return action.result(self._serve(variables, told))
        except Phi4EdgeError as error:
            return action.failure(error)

    def _serve(self, variables: Mapping[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        args, evaluated = self._task.args, self._templar.template
        wishes = planning.wishes(variables, evaluated)
        asked = Overrides.from_vars(str(variables.get("inventory_hostname")), {**wishes, "phi4_gateway": True})
        found = action.on_host(self, variables, ("balancer", "balancer", "inspect"), told)
        shown = optional_line(wishes.get("phi4_balancer_client_certificate"))
        given = (args["gateways"], args["answer_seconds"], found["installed"], told["check"])
        it = balancing.balancer(asked, *given, bool(shown))
        client = Client(asked, *planning.place(variables, evaluated))
        ca = optional_line(wishes.get("phi4_balancer_ca")) if it.ca else "-"
        made = balancer_unit.files(it, asked.layout)
        unit = made.pop(BALANCER_UNIT)
        files = {**made, **balancers.brought(client, found, ca, shown, check=bool(told["check"]))}
        payload = json.dumps({"unit": unit, "files": files}).encode()
        return action.on_host(self, variables, ("balancer", "balancer", "bring"), told, payload)
