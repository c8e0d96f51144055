# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a benchmark on a host: what its engine takes, or the record that stays there."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_bench`: sets the fact `phi4_bench`."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"do", "root", "state", "wish"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of one operation of files/bench.py, as a fact."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        do, wish = args.pop("do"), args.pop("wish", None) or {}
        try:
            answer = action.on_host(self, task_vars or {}, ("bench", "bench", do), {**wish, **args})
        except Phi4EdgeError as error:
            return action.failure(error)
        return {"changed": bool(answer.get("changed")), "ansible_facts": {"phi4_bench": answer}}
