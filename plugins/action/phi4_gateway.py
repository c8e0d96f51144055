# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for HAProxy on the host, and brings the keys and the certificate that let clients in at the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.facts import parse
    from phi4_edge.core.layout import Layout
    from phi4_edge.core.plan.overrides import Overrides
    from phi4_edge.credentials.hosts import Client
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, planning
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_gateway`: one operation of files/gateway.py. A private key is never an argument."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "state", "plan", "facts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the operation."""
        super().run(tmp, task_vars)
        variables, do = task_vars or {}, str(self._task.args["do"])
        if do != "bring":
            return action.task(self, variables, ("gateway", "gateway", do), {"check": self._task.check_mode})
        if not self._task.args["plan"] or not self._task.args["facts"]:
            return action.unplanned()
        try:
            return self._bring(variables)
        except Phi4EdgeError as error:
            return action.failure(error)

    def _bring(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        args = self._task.args
        there = Layout(state=str(args["state"]))
        host, evaluated = str(variables.get("inventory_hostname")), self._templar.template
        asked = Overrides.from_vars(host, planning.wishes(variables, evaluated))
        client = Client(asked, *planning.place(variables, evaluated))
        order = client.order(parse.parse(args["facts"]).credentials)
        told = {"folder": there.gateway, "note": order.note, "check": self._task.check_mode}
        answer = action.on_host(self, variables, ("gateway", "gateway", "bring"), told, order.document)
        return action.result(answer)
