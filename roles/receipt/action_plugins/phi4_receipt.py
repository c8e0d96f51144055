# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the receipt of a committed release on the host, and removes what no release needs any more."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import __version__, content
    from phi4_edge.core import hostcall, serving
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_receipt
short_description: Commit a release, or remove what no committed release needs
description: Hashes every managed file on the host and writes the receipt atomically. Check mode only compares.
options:
  do: {description: What to do., type: str, required: true, choices: [commit, sweep]}
  root: {description: Directory of releases and engines., type: path, required: true}
  state: {description: Directory of models and receipt., type: path, required: true}
  plan: {description: The plan that was applied (commit)., type: dict}
  images: {description: Ids of its images on the host by service (commit)., type: dict}
  forget: {description: The release that was committed until now is bad and not kept (commit)., type: bool}
"""
FORMAT = "phi4-edge/receipt/1"


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_receipt`: the host remembers exactly what was done."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "root", "state", "plan", "images", "forget"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/receipt.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = {**self._task.args, "check": self._task.check_mode}
        args["receipt"] = f"{args['state']}/receipt.json"
        if args["do"] == "sweep" and self._task.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "check mode: nothing was removed"}
        plan, images = args.pop("plan", None), args.pop("images", None) or {}
        if args["do"] == "commit":
            args["body"] = {**body(plan, str(variables.get("inventory_hostname"))), **containers(plan, images)}
            args["files"] = [f"/etc/systemd/system/{unit}" for unit in serving.UNITS]
        script = hostcall.compose(*content.host_script("receipt", "receipt"))
        python = self._templar.template(variables.get("ansible_python_interpreter"))
        done = hostcall.task(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )
        return {**result, **done}


def body(plan: Mapping[str, Any], host: str) -> dict[str, Any]:
    """What the receipt says about the plan, without files, links and images."""
    names = ("release", "engine", "quantization", "bind", "port", "unit", "context_length", "parallel")
    model = {name: plan["model"][name] for name in ("id", "artifact", "digest")}
    return {
        "format": FORMAT, "phi4_edge_version": __version__, "host": host, "plan_fingerprint": plan["fingerprint"],
        "model": model, "runtime": (plan["runtime"] or {}).get("id") or "", "threads": plan["knobs"].get("threads", 0),
        "service_manager": plan["service_manager"], "steps": list(plan.get("steps") or ()),
        "store": plan["knobs"].get("store") or "",
        **{name: plan[name] for name in names}, **before_us(plan),
    }  # fmt: skip


def before_us(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan saw that nobody can see any more once its engine runs: see `phi4_edge.core.receipt.Receipt`."""
    gpu, memory = plan["knobs"].get("gpu") or "", plan.get("memory") or {}
    images = [image for image in (plan["image"], (plan.get("webui") or {}).get("image")) if image]
    found = {
        "gpu": gpu,
        "vram_held_by_others": memory.get("held_by_others", 0) if gpu else 0,
        "image_disk": sum(image["disk"] for image in images),
        "memory_need": memory.get("ram_need", 0),
        "vram_need": memory.get("vram_need", 0),
    }
    return {name: value for name, value in found.items() if value}


def containers(plan: Mapping[str, Any], images: Mapping[str, str]) -> dict[str, Any]:
    """The images that run, as the plan names them and as the host knows them; nothing for a native engine alone."""
    found = {"image": (plan["image"], "engine"), "webui_image": ((plan.get("webui") or {}).get("image"), "webui")}
    return {
        name: {"key": image.get("key", ""), "digest": image.get("digest") or "", "id": images.get(service, "")}
        for name, (image, service) in found.items()
        if image
    }
