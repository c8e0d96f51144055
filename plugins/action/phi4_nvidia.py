# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what NVIDIA software a host lacks, asks its tools for Docker's settings, and makes its GPUs CDI devices."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import data
    from phi4_edge.core.facts import parse
    from phi4_edge.core.packages import docker, nvidia
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_nvidia`: what stands between a GPU and the containers of its host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "facts", "branch", "version", "url", "accepted", "gpu", "spec", "path"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one step; a failure says found, needed, and what to do."""
        super().run(tmp, task_vars)
        args = {"facts": {}, **self._task.args, "check": self._task.check_mode}
        do, seen = args.pop("do"), args.pop("facts")
        try:
            if do == "driver":
                return nvidia.driver_needs(parse.parse(seen), str(args["branch"]))
            if do == "toolkit":
                found = action.on_host(self, task_vars or {}, ("nvidia_runtime", "nvidia", "inspect"), args)
                floors, accepted = data.load_cve_floors(), docker.accepted(args["accepted"])
                pins = (str(args["version"]), str(args["url"]))
                return nvidia.toolkit_needs(parse.parse(seen), found, pins, floors, accepted)
        except Phi4EdgeError as error:
            return action.failure(error)
        return action.task(self, task_vars or {}, ("nvidia_runtime", "nvidia", do), args)
