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

DOCUMENTATION = r"""
module: phi4_vllm
short_description: Check the checkpoint, or stage the engine's part of a release
description: One command on the host. Check mode says what would change; stage supports diff.
options:
  do: {description: What to do., type: str, required: true, choices: [check, stage]}
  model: {description: Directory of the checkpoint on the host (check)., type: path}
  quantization: {description: What the plan says that it is (check)., type: str}
  root: {description: Directory of releases (stage)., type: path}
  release: {description: Name of the release (stage)., type: str}
  links: {description: Symlinks of the release by name (stage)., type: dict}
"""


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
