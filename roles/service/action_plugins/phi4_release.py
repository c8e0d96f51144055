# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages a release on the host, switches to it, goes back, or removes everything."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_release
short_description: Stage, switch, roll back or remove a release on the host
description: One command on the host. Check mode says what would change; stage supports diff.
options:
  do:
    description: What to do.
    type: str
    required: true
    choices: [stage, verify, switch, previous, rollback, remove]
  root: {description: Directory of releases and engines., type: path, required: true}
  state: {description: Directory of models and receipt., type: path, required: true}
  unit: {description: Name of the unit., type: str, required: true}
  release: {description: Release that is staged, verified or switched to., type: str}
  files: {description: Text files of the release by name (stage)., type: dict}
  links: {description: Symlinks of the release by name (stage)., type: dict}
  restart: {description: Restart even where nothing that systemd knows of changed (switch)., type: bool}
  failed: {description: Release that did not pass the gate (rollback)., type: str}
  why: {description: "Returned as it is (rollback): if going back fails too, the first reason must not be lost."}
"""
CHECK = {"verify": "not verified", "rollback": "nothing was switched"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_release`: one step in a release's life; `previous` also sets the fact `phi4_plan`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "root", "state", "unit", "release", "files", "links", "restart", "failed", "why"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/release.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {"files": {}, "links": {}, "restart": False, **self._task.args}
        if "why" in args:
            result["why"] = str(args.pop("why"))
        if self._task.check_mode and args["do"] in CHECK:
            return {**result, "changed": False, "skipped": True, "msg": f"check mode: {CHECK[args['do']]}"}
        args |= {"check": self._task.check_mode, "diff": self._task.diff, "receipt": f"{args['state']}/receipt.json"}
        script = hostcall.compose(*content.host_script("service", "release"))
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        done = hostcall.task(self._low_level_execute_command, secrets.token_hex(8), python, script, args)
        if args["do"] == "previous" and not done.get("failed"):
            done["ansible_facts"] = {"phi4_plan": done["plan"]}
        return {**result, **done}
