# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects and builds the ONNX engine's Python environment on the host, and stages its release."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.engine import lock, package
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_onnx
short_description: Inspect or build the engine's environment, or stage the engine's part of a release
description: One command on the host. Check mode says what would change; stage supports diff.
options:
  do: {description: What to do., type: str, required: true, choices: [inspect, build, stage]}
  engine: {description: Directory of the environment (inspect and build)., type: path}
  wheelhouse: {description: Directory of the wheels on the host (build)., type: path}
  python: {description: Version of Python that the wheels are for, such as 3.13 (build)., type: str}
  root: {description: Directory of releases (stage)., type: path}
  release: {description: Name of the release (stage)., type: str}
  links: {description: Symlinks of the release by name (stage)., type: dict}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_onnx`: what an ONNX release consists of, apart from model and unit."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "engine", "wheelhouse", "python", "root", "release", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/engine.py, or of the service role's files/release.py for `stage`."""
        super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        do = args.pop("do")
        if do == "stage":
            return action.task(self, task_vars or {}, ("service", "release", "stage"), {**args, "files": {}})
        if do == "build" and self._task.check_mode:
            return {"changed": True, "msg": f"{args['engine']} would be built"}
        if do == "build":  # what the host holds the wheels to comes from this installation
            try:
                args["wheel_lock"] = lock(str(args["python"]))
            except Phi4EdgeError as error:
                return action.failure(error)
        return action.task(self, task_vars or {}, ("onnx", "engine", do), args, package() if do == "build" else b"")
