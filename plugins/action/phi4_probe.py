# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the probe to a host over its Ansible connection and returns what it says, as plain data."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, probe
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_probe`: sets the fact `phi4_facts`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"verify_seconds", "deep", "sample", "root", "state"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The facts document, under its own key and as a fact. A host without an answer is a failed host."""
        variables = task_vars or {}
        super().run(tmp, variables)
        verify = int(self._task.args.get("verify_seconds", probe.VERIFY_SECONDS))
        try:
            there = action.placed(self._task.args)
            deep = boolean(self._task.args.get("deep", False))
            args, seconds = probe.arguments(there, verify, deep), verify + probe.SPARE_SECONDS
            answer = action.on_host(self, variables, probe.OPERATION, args, seconds=seconds)
            document = probe.document(answer, str(variables.get("inventory_hostname", "")), there)
            if boolean(self._task.args.get("sample", False)):
                document = probe.sampled(document, lambda operation: action.on_host(self, variables, operation, {}))
        except Phi4EdgeError as error:
            return action.failure(error)
        return {"changed": False, "phi4_facts": document, "ansible_facts": {"phi4_facts": document}}
