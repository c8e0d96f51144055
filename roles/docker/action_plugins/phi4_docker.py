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

DOCUMENTATION = r"""
module: phi4_docker
short_description: Install packages, merge /etc/docker/daemon.json, restart Docker where that is due, take it all back
description: Few commands on the host. Check mode says what would change; merge supports diff.
options:
  do: {description: What to do., type: str, required: true, choices: [inspect, packages, merge, run, reload, restore]}
  state: {description: Directory in which it is remembered what was done (merge run reload restore)., type: path}
  path: {description: Docker's configuration file (merge run reload restore)., type: path}
  source: {description: "Where Docker comes from (inspect): docker or distribution.", type: str}
  pins: {description: Upstream versions of Docker's packages (inspect)., type: dict}
  url: {description: Base URL of Docker's repositories (inspect)., type: str}
  key_url: {description: "Address of the key, or a file on the controller; empty: beside the repository.", type: str}
  accepted: {description: Components that may be below their floor (inspect packages run)., type: list}
  packages: {description: "Upstream version by package; empty: what the host's sources offer (packages).", type: dict}
  repository: {description: "Vendor's repository; empty: the host's own sources (packages).", type: dict}
  fingerprint: {description: Of the repository's only key (packages)., type: str}
  replaces: {description: Expression for addresses of older sources of the same repository (packages)., type: str}
  remove: {description: Packages that must go first (packages)., type: list}
  components: {description: Name in cve_floors.yml by package (packages)., type: dict}
  lock_seconds: {description: How long to wait for another package manager (packages)., type: int}
  owner: {description: Role whose settings are merged (merge)., type: str}
  defaults: {description: Settings that give way to what is there (merge)., type: dict}
  required: {description: "Settings that must be so: a different value there is a failure (merge).", type: dict}
"""
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
