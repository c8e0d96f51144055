# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes Ollama's store on the host from the pushed model, and stages the engine's part of a release."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_ollama
short_description: Make Ollama's store on the host, or stage the engine's part of a release
description: One command on the host, two where the store is not there yet. Check mode says what would change.
options:
  do: {description: What to do., type: str, required: true, choices: [create, stage]}
  plan: {description: The host's plan (create)., type: dict}
  paths: {description: "Directories on the host: engine, model, store, staging (create).", type: dict}
  image: {description: Id of the image on the host; empty where Ollama runs under systemd (create)., type: str}
  library: {description: "Name and digest in Ollama's library; empty: the pushed model (create).", type: dict}
  stop: {description: Texts that end an answer (create)., type: list}
  root: {description: Directory of releases (stage)., type: path}
  release: {description: Name of the release (stage)., type: str}
  files: {description: Text files of the release by name (stage)., type: dict}
  links: {description: Symlinks of the release by name (stage)., type: dict}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_ollama`: what an Ollama release consists of, apart from engine and unit."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "plan", "paths", "image", "library", "stop", "root", "release", "files", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/create.py, or of the service role's files/release.py for `stage`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._python = self._templar.template((task_vars or {}).get("ansible_python_interpreter"))
        if self._task.args["do"] == "stage":
            args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
            return {**result, **self._call(("service", "release"), args)}
        return {**result, **self._create(str((task_vars or {}).get("inventory_hostname")))}

    def _create(self, host: str) -> dict[str, Any]:
        """The store is there. It takes minutes where it is not, so that is said first."""
        args = request(self._task.args, (content.roles() / "ollama" / "templates" / "chat.gotmpl").read_text())
        found = self._call(("ollama", "create"), {**args, "do": "inspect"})
        if found.get("failed") or found.get("complete"):
            return {**found, "msg": found.get("msg", "Ollama's store is already there")}
        names = ", ".join(one["model"] for one in args["requests"])
        if self._task.check_mode:
            return {"changed": True, "msg": f"Ollama would make {names}"}
        Display().display(f"{host}: Ollama makes {names}")
        done = self._call(("ollama", "create"), {**args, "do": "create"})
        if done.get("failed"):
            return done
        return {**done, "msg": f"Ollama made {names}: {'; '.join(done['said'])}"}

    def _call(self, script: tuple[str, str], args: Mapping[str, Any]) -> dict[str, Any]:
        text = hostcall.compose(*content.host_script(*script))
        return hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            self._python,
            text,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )


def request(args: Mapping[str, Any], template: str) -> dict[str, Any]:
    """What the host's script is told: where things lie, how the server runs, and what it is asked to make."""
    plan, library = args["plan"], dict(args.get("library") or {})
    knobs = plan["knobs"]
    made = requests(plan["model"]["served_name"], knobs.get("variants") or {}, template, args["stop"], library)
    told = {
        **{name: args["paths"][name] for name in ("engine", "model", "store", "staging")},
        "image": args.get("image") or "",
        "library": library,
        "environment": {name: str(value) for name, value in knobs["environment"].items()},
        "memory_max": knobs["memory_max"],
        "requests": made,
    }
    canonical = json.dumps([plan["model"]["digest"], library, made], sort_keys=True)
    return {**told, "made": hashlib.sha256(canonical.encode()).hexdigest()}


def requests(
    served: str, variants: Mapping[str, Any], template: str, stop: list[str], library: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Bodies of /api/create in the order in which they can be made: the model, then each variant behind its base.

    A model of the library keeps the template that it comes with. Raises AnsibleActionFail for a circle.
    """
    if library:
        base: dict[str, Any] = {"model": served, "from": library["name"]}
    else:
        base = {"model": served, "template": template, "parameters": {"stop": list(stop)}}
    bodies, left = [base], dict(variants)
    while left:
        done = {body["model"] for body in bodies}
        ready = sorted(name for name, variant in left.items() if variant["from"] in done)
        if not ready:
            raise AnsibleActionFail(f"found variants without a base that can be made: {', '.join(sorted(left))}")
        for name in ready:
            variant = left.pop(name)
            body = {"model": name, "from": variant["from"], "parameters": dict(variant.get("parameters") or {})}
            bodies.append({**body, **({"system": variant["system"]} if variant.get("system") else {})})
    return bodies
