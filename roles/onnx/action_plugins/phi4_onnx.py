# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects and builds the ONNX engine's Python environment on the host, and stages its release."""

from __future__ import annotations

import io
import secrets
import zipfile
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
  files: {description: Text files of the release by name (stage)., type: dict}
  links: {description: Symlinks of the release by name (stage)., type: dict}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_onnx`: what an ONNX release consists of, apart from model and unit."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "engine", "wheelhouse", "python", "root", "release", "files", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/engine.py, or of the service role's files/release.py for `stage`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        if args["do"] == "build" and self._task.check_mode:
            return {**result, "changed": True, "msg": f"{args['engine']} would be built"}
        where = ("service", "release") if args["do"] == "stage" else ("onnx", "engine")
        script = hostcall.compose(*content.host_script(*where))
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        payload = package() if args["do"] == "build" else b""
        done = hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            script,
            args,
            payload,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )
        return {**result, **done}


def package() -> bytes:
    """The engine's own package as a zip archive, names relative to site-packages."""
    source = content.roles() / "onnx" / "files" / "engine" / "src"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.writestr(path.relative_to(source).as_posix(), path.read_bytes())
    return packed.getvalue()
