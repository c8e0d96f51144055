# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the pushed checkpoint on the host, and stages vLLM's part of a release."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_vllm`: what a vLLM release consists of, apart from image and compose file."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "model", "quantization", "root", "release", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/checkpoint.py, or of the service role's files/release.py for `stage`."""
        super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        stage = args.pop("do") == "stage"
        if stage:
            return action.task(self, task_vars or {}, ("service", "release", "stage"), {**args, "files": {}})
        return action.task(self, task_vars or {}, ("vllm", "checkpoint", "check"), args)
