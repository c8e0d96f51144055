# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the pushed checkpoint on the host, and stages vLLM's part of a release."""

from __future__ import annotations

import secrets
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall
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
  files: {description: Text files of the release by name (stage)., type: dict}
  links: {description: Symlinks of the release by name (stage)., type: dict}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_vllm`: what a vLLM release consists of, apart from image and compose file."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "model", "quantization", "root", "release", "files", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/checkpoint.py, or of the service role's files/release.py for `stage`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        where = ("service", "release") if args["do"] == "stage" else ("vllm", "checkpoint")
        script = hostcall.compose(*content.host_script(*where))
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        done = hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )
        return {"changed": False, **result, **done}
