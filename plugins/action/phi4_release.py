# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages a release on the host, rehearses it, switches to it, goes back, or removes everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.release import rehearsed, rolled_back, staged
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

CHECK = {"verify": "not verified", "rehearse": "nothing was started", "rest": "nothing was started",
         "rollback": "nothing was switched"}  # fmt: skip
# Facts that a result sets, of an answer that its schema let through.
FACTS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "committed": lambda done: {"phi4_plan": done["plan"]},
    "previous": lambda done: {"phi4_plan": done["plan"], "phi4_images": done["images"]},
    "rollback": lambda done: {"phi4_rollback": rolled_back(done)},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_release`: one step in a release's life.

    `committed` and `previous` set the fact `phi4_plan`, `previous` also `phi4_images`, `rollback` `phi4_rollback`: what
    serves now (`to`), whether it was started for that, and whether everything was left (`kept`) or is to be `removed`.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset(
        {
            "do", "root", "state", "release", "plan", "images", "links", "restart", "to", "failed", "keep_trust", "why",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of one operation of files/release.py."""
        super().run(tmp, task_vars)
        args = {"links": {}, "files": {}, "restart": False, **self._task.args}
        do, why = args.pop("do"), {"why": str(args.pop("why"))} if "why" in args else {}
        if self._task.check_mode and do in CHECK:
            return {**why, "changed": False, "skipped": True, "msg": f"check mode: {CHECK[do]}"}
        plan, images = args.pop("plan", None), args.pop("images", None) or {}
        if plan == {}:
            return action.unplanned()
        args |= {"check": self._task.check_mode, "diff": self._task.diff, "receipt": f"{args['state']}/receipt.json"}
        try:
            if plan is not None:
                args["files"] = (rehearsed if do == "rehearse" else staged)(plan, images, args["root"])
            answer = action.on_host(self, task_vars or {}, ("service", "release", do), args)
        except Phi4EdgeError as error:
            return {**why, **action.failure(error)}
        facts = {"ansible_facts": FACTS[do](answer)} if do in FACTS else {}
        return {**why, **action.result(answer), **facts}
