# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what a host serves, from what the probe verified there: the same words as `phi4-edge status`."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.facts import parse, receipt
    from phi4_edge.core.facts.endings import endings
    from phi4_edge.errors import FactsError
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_status`: `state` is absent, unreadable, drifted, stopped, loading or serving."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset({"facts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The state, the release, and the drift file by file."""
        super().run(tmp, task_vars)
        if not self._task.args["facts"]:
            raise AnsibleActionFail(
                "found no fact phi4_facts, needed it; include phi4_edge.edge.probe before this role"
            )
        try:
            host = parse.parse(self._task.args["facts"])
        except FactsError as error:
            raise AnsibleActionFail(str(error)) from None
        found = host.receipt
        drift = [f"{item.path} ({item.problem})" for item in found.drift]
        state = receipt.status(found, host.service)
        if state in ("serving", "stopped") and host.service is not None and host.service.loading:
            state = "loading"
        port = f"port {found.port}" if found.port else ""
        ended = [ending.text for ending in endings(host)]
        words = [state, found.release, found.artifact, port, *drift, *ended, found.error]
        return {
            "changed": False, "state": state, "release": found.release, "drift": drift,
            "msg": " · ".join(word for word in words if word),
        }  # fmt: skip
