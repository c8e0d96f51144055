# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs packages of a verified vendor on the host, merges Docker's configuration, and proves that Docker answers."""

from __future__ import annotations

import secrets
from pathlib import Path
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content, data
    from phi4_edge.core import docker_install, hostcall, openpgp
    from phi4_edge.errors import Phi4EdgeError
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
KEYRINGS, SOURCES = "/etc/apt/keyrings", "/etc/apt/sources.list.d"
SCRIPTS = {"merge": "daemon", "restore": "daemon", "run": "engine", "reload": "engine"}
NAMES = ["docker-ce", "docker-compose-plugin", "docker-compose", "docker-compose-v2", *docker_install.CONFLICTING]
FLOORS = {"docker": "engine", "runc": "runc"}


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
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        try:
            if args["do"] == "inspect":
                return {**result, **self._inspect(args)}
            if args["do"] == "packages":
                return {**result, **self._packages(args)}
            done = self._host(SCRIPTS[args["do"]], args["do"], args)
            return {**result, **(self._proven(done, args) if args["do"] == "run" else done)}
        except Phi4EdgeError as error:
            return {**result, "changed": False, "failed": True, "msg": str(error)}

    def _host(self, script: str, do: str, args: dict[str, Any]) -> dict[str, Any]:
        """The answer of one operation of files/<script>.py."""
        text = hostcall.compose(*content.host_script("docker", script))
        nonce = secrets.token_hex(8)
        return hostcall.task(
            self._low_level_execute_command,
            nonce,
            self._python,
            text,
            {**args, "do": do},
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )

    def _inspect(self, args: dict[str, Any]) -> dict[str, Any]:
        """What is there, and in `install` what it takes that Docker is."""
        found = self._host("packages", "inspect", {"names": NAMES})
        if found.get("failed"):
            return found
        pins, accepted = docker_install.Pins(**args["pins"]), docker_install.accepted(args["accepted"])
        wanted = docker_install.decide(found, args["source"], pins, data.load_cve_floors(), accepted)
        vendor = wanted.packages and args["source"] == "docker"
        repository = docker_install.repository(found, args["url"]) if vendor else {}
        return {**found, "install": wanted.packages, "reason": wanted.reason, "repository": repository}

    def _packages(self, args: dict[str, Any]) -> dict[str, Any]:
        """The packages are installed, from the vendor's repository where one is given."""
        found = self._host("packages", "inspect", {"names": [*args["packages"], *args["remove"]]})
        here = found.get("packages", {})
        there = docker_install.installed(here, args["packages"]) and not set(args["remove"]) & set(here)
        if found.get("failed") or there:
            return found
        repository = self._repository(args)
        if repository.get("failed") or (args["check"] and repository["changed"]):
            return {**repository, "would_install": args["packages"]}
        wish = {"packages": list(args["packages"]), "update": not args["check"], "lock_seconds": args["lock_seconds"]}
        offer = self._host("packages", "offered", wish)
        if offer.get("failed") or args["check"]:
            return {**offer, "changed": not offer.get("failed"), "would_install": args["packages"]}
        exact = self._chosen(offer, args)
        return self._host("packages", "install", {**wish, "packages": exact, "remove": args["remove"]})

    def _repository(self, args: dict[str, Any]) -> dict[str, Any]:
        """Key and source are on the host, after the key was compared with its fingerprint here."""
        repository = args["repository"]
        if not repository:
            return {"changed": False}
        key_url = args["key_url"] or repository["key_url"]
        key = fetched(key_url)
        openpgp.require(key, args["fingerprint"], key_url)
        name = f"phi4-edge-{repository['name']}"
        key_path = f"{KEYRINGS}/{name}.asc"
        if key[0] & 0x80:  # what apt is told is armoured must be so
            raise AnsibleActionFail(f"found a binary key at {key_url}, needed an armoured one (gpg --enarmor)")
        text = docker_install.sources(repository, key_path)
        wish = {"key_path": key_path, "key": key.decode("ascii"), "sources": text, "replaces": args["replaces"]}
        return self._host(
            "packages", "repository", {**wish, "sources_path": f"{SOURCES}/{name}.sources", "check": args["check"]}
        )

    def _chosen(self, offer: dict[str, Any], args: dict[str, Any]) -> dict[str, str]:
        """The full version of each package. Raises PreflightError where there is none or it is below its floor."""
        floors, accepted, exact = data.load_cve_floors(), docker_install.accepted(args["accepted"]), {}
        for name, wanted in args["packages"].items():
            try:
                exact[name] = docker_install.pick(name, offer["offered"].get(name, []), wanted)
            except Phi4EdgeError as error:
                raise type(error)(f"{error}. {offer['said']}".strip()) from None
            component = args["components"].get(name, "")
            problem = docker_install.below(floors, component, docker_install.upstream(exact[name]), accepted)
            if problem:
                raise AnsibleActionFail(f"package {name}: {problem}. Nothing was installed")
        return exact

    def _proven(self, done: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        """`done`, failed where what runs now is below its floor."""
        floors, accepted = data.load_cve_floors(), docker_install.accepted(args["accepted"])
        for component, key in FLOORS.items():
            problem = docker_install.below(floors, component, str(done.get(key, "")), accepted)
            if problem:
                return {**done, "failed": True, "msg": problem}
        return done


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
