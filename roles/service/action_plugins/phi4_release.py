# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages a release on the host, rehearses it, switches to it, goes back, or removes everything."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from signal import ITIMER_REAL, getitimer
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import compose, hostcall, serving
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_release
short_description: Stage, rehearse, switch, roll back or remove a release on the host
description: One command on the host. Check mode says what would change; stage supports diff.
options:
  do:
    description: What to do. C(remove) leaves the files below O(root) and O(state) to C(erase).
    type: str
    required: true
    choices: [stage, verify, rehearse, rest, switch, committed, previous, rollback, remove, erase]
  root: {description: Directory of releases and engines., type: path, required: true}
  state: {description: Directory of models and receipt., type: path, required: true}
  release: {description: Release that is staged, verified, rehearsed or switched to., type: str}
  plan: {description: Its plan (stage and rehearse); what lies beside the unit is made from it., type: dict}
  images: {description: Ids of its images on the host by service (stage and rehearse)., type: dict}
  files: {description: Further text files of the release or its rehearsal by name., type: dict}
  links: {description: Symlinks of the release by name (stage)., type: dict}
  restart: {description: Restart even where nothing that systemd knows of changed (switch)., type: bool}
  to: {description: Release to go back to (previous); the one before the committed one without., type: str}
  failed: {description: Release that is gone back from (rollback)., type: str}
  why: {description: "Returned as it is (rollback): if going back fails too, the first reason must not be lost."}
"""
CHECK = {"verify": "not verified", "rehearse": "nothing was started", "rest": "nothing was started",
         "rollback": "nothing was switched"}  # fmt: skip
# Facts that a result sets.
FACTS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "committed": lambda done: {"phi4_plan": done["plan"]},
    "previous": lambda done: {"phi4_plan": done["plan"], "phi4_images": done["images"]},
    "rollback": lambda done: {"phi4_rollback": {
        **{name: done[name] for name in ("to", "restarted", "kept")}, "removed": not (done["to"] or done["kept"])}},
}  # fmt: skip
NOTE = "# Managed by phi4-edge. Changes here are found by `phi4-edge status` and undone by `phi4-edge provision`.\n"
# What the release keeps of its plan: all that was applied, nothing that differs from one look at the host to the next.
PLAN_KEYS = (
    "format", "host", "profile", "engine", "quantization", "accelerator", "service_manager", "context_length",
    "parallel", "kv_cache_type", "bind", "port", "unit", "knobs", "model", "runtime", "image", "webui", "content",
    "steps", "stability_seconds", "release", "fingerprint",
)  # fmt: skip
# Of the memory model: what the gate and the receipt ask for when this release is gone back to.
MEMORY_KEYS = ("weights", "ram_need", "vram_need", "held_by_others")


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_release`: one step in a release's life.

    `committed` and `previous` set the fact `phi4_plan`, `previous` also `phi4_images`, `rollback` `phi4_rollback`: what
    serves now (`to`), whether it was started for that, and whether everything was left (`kept`) or is to be `removed`.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset(
        {"do", "root", "state", "release", "plan", "images", "files", "links", "restart", "to", "failed", "why"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/release.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = {"links": {}, "restart": False, **self._task.args, "files": dict(self._task.args.get("files") or {})}
        if "why" in args:
            result["why"] = str(args.pop("why"))
        if self._task.check_mode and args["do"] in CHECK:
            return {**result, "changed": False, "skipped": True, "msg": f"check mode: {CHECK[args['do']]}"}
        plan, images = args.pop("plan", None), args.pop("images", None) or {}
        if plan is not None:
            args["files"] |= (rehearsed if args["do"] == "rehearse" else staged)(plan, images, args["root"])
        args |= {"check": self._task.check_mode, "diff": self._task.diff, "receipt": f"{args['state']}/receipt.json"}
        script = hostcall.compose(*content.host_script("service", "release"))
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
        if args["do"] in FACTS and not done.get("failed"):
            done["ansible_facts"] = FACTS[args["do"]](done)
        return {**result, **done}


def staged(plan: Mapping[str, Any], images: Mapping[str, str], root: str) -> dict[str, str]:
    """What a release keeps of its plan, and the compose file where it runs in containers."""
    kept = {name: plan[name] for name in PLAN_KEYS if name in plan}
    kept["memory"] = {name: plan["memory"][name] for name in MEMORY_KEYS if name in plan["memory"]}
    files = {"plan.json": json.dumps(kept, indent=4, sort_keys=True) + "\n"}
    if plan["service_manager"] == "compose":
        files["compose.yml"] = composed(plan, images, root)
    return files


def rehearsed(plan: Mapping[str, Any], images: Mapping[str, str], root: str) -> dict[str, str]:
    """What a rehearsal has of its own beside its unit: where it listens."""
    port = int(plan["switch"]["port"])
    if plan["service_manager"] == "compose":
        return {"compose.yml": composed(plan, images, root, port=port, project=serving.REHEARSAL_PROJECT)}
    return {"environment": serving.environment_file(serving.rehearsal_environment(plan["engine"], port))}


def composed(plan: Mapping[str, Any], images: Mapping[str, str], root: str, **other: Any) -> str:
    """The compose file. Raises AnsibleActionFail where no image was loaded."""
    if "engine" not in images:
        raise AnsibleActionFail("found no image of the engine in phi4_images, needed it: run the role artifact first")
    document = compose.document(plan, images, release_dir=f"{root}/releases/{plan['release']}", **other)
    return NOTE + str(yaml.safe_dump(document, sort_keys=False, width=120))
