# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares the chat page's data directory on the host, and stages its part of a release."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from signal import ITIMER_REAL, getitimer
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import compose, compose_parts, hostcall
    from phi4_edge.data import load_catalog
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_webui
short_description: Prepare the chat page's data directory, or stage its part of a release
description: One command on the host. Check mode says what would change; stage supports diff.
options:
  do: {description: What to do., type: str, required: true, choices: [prepare, stage]}
  data: {description: Directory of accounts and chats on the host., type: path, required: true}
  root: {description: Directory of releases (stage)., type: path}
  release: {description: Name of the release (stage)., type: str}
  plan: {description: The host's plan (stage)., type: dict}
  image: {description: Id of the page's image on the host; empty only in check mode (stage)., type: str}
  unit: {description: Text of its unit (stage)., type: str}
"""
NOTE = "# Managed by phi4-edge. Changes here are found by `phi4-edge status` and undone by `phi4-edge provision`.\n"
UNIT, COMPOSE = "phi4-edge-webui.service", "webui.yml"


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_webui`: what a release has of the chat page; the role service starts it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "data", "root", "release", "plan", "image", "unit"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/webui.py, or of the service role's files/release.py for `stage`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = dict(self._task.args)
        args: dict[str, Any] = {"do": given["do"], "check": self._task.check_mode, "diff": self._task.diff}
        if given["do"] == "stage":
            where = ("service", "release")
            files = {COMPOSE: composed(given["plan"], given["image"], given["data"]), UNIT: given["unit"]}
            args |= {"root": given["root"], "release": given["release"], "files": files, "links": {}}
        else:
            where = ("webui", "webui")
            args |= {"data": given["data"], "user": compose_parts.USER}
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


def composed(plan: Mapping[str, Any], image: str, data: str) -> str:
    """The compose file of the chat page."""
    document = compose.webui_document(plan, image, memory=load_catalog().webui.memory, data_dir=data)
    plain = json.loads(json.dumps(document))  # Ansible's own kinds of text are none that YAML can write
    return NOTE + str(yaml.safe_dump(plain, sort_keys=False, width=120))
