# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what a host serves, from what the probe verified there: the same words as `phi4-edge status`."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.facts import parse, status, words
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
            found = status.classify(parse.parse(self._task.args["facts"]), None).to_dict()
        except FactsError as error:
            raise AnsibleActionFail(str(error)) from None
        return {
            "changed": False, "state": found["state"], "release": found["release"], "msg": words.serving(found),
            "drift": [words.drifted(item) for item in found["drift"]],
        }  # fmt: skip
