# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs packages of a verified vendor on the host, merges Docker's configuration, and proves that Docker answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import data
    from phi4_edge.core.packages import docker, openpgp
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.docker import Packages
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

SCRIPTS = {"merge": "daemon", "restore": "daemon", "run": "engine", "reload": "engine"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_docker`: packages, configuration and service of Docker."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset(
        {
            "do", "state", "path", "source", "pins", "url", "key_url", "accepted", "packages", "repository",
            "fingerprint", "replaces", "remove", "components", "lock_seconds", "owner", "defaults", "required",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one step; a failure says found, needed, and what to do."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        accepted = docker.accepted(args.get("accepted") or ())
        packages = Packages(self._packages, data.load_cve_floors(), accepted, fetched, self._task.check_mode)
        do = str(args.pop("do"))
        try:
            if do in ("inspect", "packages"):
                return packages.inspect(args) if do == "inspect" else packages.install(args)
            answer = action.on_host(self, self._variables, ("docker", SCRIPTS[do], do), args)
            if do == "run":
                packages.prove(answer)
        except Phi4EdgeError as error:
            return action.failure(error)
        return action.result(answer)

    def _packages(self, what: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        return action.on_host(self, self._variables, ("docker", "packages", what), args)


def fetched(where: str) -> bytes:
    """The bytes at an address, or of a file on the controller. Raises AnsibleActionFail with what to do."""
    try:
        if "://" not in where:
            return Path(where).expanduser().read_bytes()[: openpgp.MOST_BYTES + 1]
        with open_url(where, timeout=30, http_agent="phi4-edge") as answer:
            return bytes(answer.read(openpgp.MOST_BYTES + 1))
    except (OSError, ValueError) as error:
        raise AnsibleActionFail(
            f"could not read the key at {where} on this controller ({error}): check the address, or set the variable "
            "of the key's address to a file on this controller"
        ) from None
