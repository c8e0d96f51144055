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


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_onnx`: what an ONNX release consists of, apart from model and unit."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset(
        {"do", "engine", "wheelhouse", "python", "model", "repacked", "threads", "root", "release", "links"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/engine.py, or of the service role's files/release.py for `stage`."""
        super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        do = args.pop("do")
        if do == "stage":
            return action.task(self, task_vars or {}, ("service", "release", "stage"), {**args, "files": {}})
        if do in ("build", "repack") and self._task.check_mode:
            what = f"{args['engine']} would be built" if do == "build" else "the weights would be repacked"
            return {"changed": True, "msg": what}
        if do == "build":  # what the host holds the wheels to comes from this installation
            try:
                args["wheel_lock"] = lock(str(args["python"]))
            except Phi4EdgeError as error:
                return action.failure(error)
        return action.task(self, task_vars or {}, ("onnx", "engine", do), args, package() if do == "build" else b"")
