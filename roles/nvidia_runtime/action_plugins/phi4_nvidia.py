# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what NVIDIA software a host lacks, asks its tools for Docker's settings, and makes its GPUs CDI devices."""

from __future__ import annotations

import secrets
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content, data
    from phi4_edge.core import docker_install, facts, hostcall, nvidia_install
    from phi4_edge.errors import Phi4EdgeError
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_nvidia
short_description: Driver, container toolkit and CDI devices of a host with an NVIDIA GPU
description: At most one command on the host. Check mode says what would change.
options:
  do:
    description: What to do.
    type: str
    required: true
    choices: [driver, toolkit, settings, cdi, nouveau, remove]
  facts: {description: Document of the probe (driver and toolkit)., type: dict}
  branch: {description: Branch of the driver (driver)., type: str}
  version: {description: Version of the container toolkit (toolkit)., type: str}
  url: {description: Base URL of NVIDIA's repository (toolkit)., type: str}
  accepted: {description: Components that may be below their floor (toolkit)., type: list}
  gpu: {description: "UUID of the planned GPU; empty for any (cdi).", type: str}
  spec: {description: Our own CDI specification (cdi and remove)., type: path}
  path: {description: File that keeps nouveau away (nouveau)., type: path}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_nvidia`: what stands between a GPU and the containers of its host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "facts", "branch", "version", "url", "accepted", "gpu", "spec", "path"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one step; a failure says found, needed, and what to do."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {**self._task.args, "check": self._task.check_mode}
        python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        try:
            if args["do"] == "driver":
                return {**result, **self._driver(args)}
            if args["do"] == "toolkit":
                return {**result, **self._toolkit(args, python)}
        except Phi4EdgeError as error:
            return {**result, "changed": False, "failed": True, "msg": str(error)}
        return {**result, **self._host(args, python)}

    def _host(self, args: dict[str, Any], python: str | None) -> dict[str, Any]:
        """The answer of one operation of files/nvidia.py."""
        script = hostcall.compose(*content.host_script("nvidia_runtime", "nvidia"))
        return hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )

    def _driver(self, args: dict[str, Any]) -> dict[str, Any]:
        """Packages of the driver in `install`, and whether a GPU answers."""
        seen = facts.parse(args["facts"])
        wanted = nvidia_install.driver(seen, str(args["branch"]))
        works = nvidia_install.answers(seen)
        return {"changed": False, "install": wanted.packages, "reason": wanted.reason, "works": works}

    def _toolkit(self, args: dict[str, Any], python: str | None) -> dict[str, Any]:
        """Packages of the toolkit in `install` with their repository, and packages that they replace in `remove`."""
        seen = facts.parse(args["facts"])
        found = self._host({**args, "do": "inspect", "facts": {}}, python)
        if found.get("failed"):
            return found
        accepted = docker_install.accepted(args["accepted"])
        wanted = nvidia_install.toolkit(seen, found, str(args["version"]), data.load_cve_floors(), accepted)
        vendor = bool(wanted.packages) and seen.jetson is None
        return {
            "changed": False, "install": wanted.packages, "reason": wanted.reason,
            "repository": nvidia_install.repository(found, args["url"]) if vendor else {},
            "remove": ["nvidia-docker2"] if vendor and found["nvidia_docker2"] else [],
            "replaces": nvidia_install.REPLACES,
        }  # fmt: skip
