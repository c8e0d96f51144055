# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the probe to a host over its Ansible connection and returns what it says, as plain data."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.layout import STANDARD
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

# Beside the verifying of files: the sources themselves, and a board that starts Python slowly.
SPARE_SECONDS = 120.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_probe`: sets the fact `phi4_facts`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"verify_seconds", "deep", "root", "state"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The facts document, under its own key and as a fact. A host without an answer is a failed host."""
        variables = task_vars or {}
        super().run(tmp, variables)
        verify = int(self._task.args.get("verify_seconds", 120))
        look = ("probe", "probe", "probe")
        try:
            there = action.placed(self._task.args)
            deep = boolean(self._task.args.get("deep", False))
            args = {"verify_seconds": verify, "deep": deep, "layout": there.to_dict()}
            document = action.on_host(self, variables, look, args, seconds=verify + SPARE_SECONDS)
        except Phi4EdgeError as error:
            return action.failure(error)
        document["host"] = str(variables.get("inventory_hostname", ""))
        if there != STANDARD:
            document["layout"] = there.to_dict()
        return {"changed": False, "phi4_facts": document, "ansible_facts": {"phi4_facts": document}}
