# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a host for everything that may be in the way, and measures what a command over its connection costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import HostFailedError, Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.answers import Key
    from phi4_edge.remote.examination import ROUNDS, Examination
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

OVER_SSH = ("ssh", "smart")


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_doctor`: sets the fact `phi4_doctor`. Only a connection that breaks makes it fail."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset({"rounds", "root", "state"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The document, also where a part of it could not be had: that part holds the reason."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        examination = Examination(
            ask=self._ask,
            nothing=lambda as_root: action.nothing(self, as_root),
            transport=str(self._connection.transport),
            over_ssh=self._connection.transport in OVER_SSH,
            becomes=self._connection.become is not None,
            rounds=int(self._task.args.get("rounds", ROUNDS)),
        )
        try:
            document = examination.document(action.placed(self._task.args))
        except Phi4EdgeError as error:
            return action.failure(error)
        return {"changed": False, "ansible_facts": {"phi4_doctor": document}}

    def _ask(self, operation: Key, args: Mapping[str, Any], as_root: bool) -> Mapping[str, Any]:
        """The host's answer; what Ansible itself fails with is a reason too, but for a connection that breaks."""
        try:
            return action.on_host(self, self._variables, operation, args, sudoable=as_root)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            raise HostFailedError(str(error)) from error
