# SPDX-License-Identifier: GPL-3.0-or-later
"""The health gate and the watch after it: pass only when the planned release really generates, and stays up."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, gate
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

# Seconds of each, by operation.
TIMES = {"gate": ("start_seconds", "generation_seconds", "stability_seconds"),
         "watch": ("generation_seconds", "watch_seconds")}  # fmt: skip


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_health`: fails unless the plan's release serves. A watch sets the fact `phi4_watch`, also when it fails."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "plan",
            "rehearsal",
            "start_seconds",
            "generation_seconds",
            "stability_seconds",
            "watch_seconds",
            "root",
            "state",
        }
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/gate.py or files/watch.py on the host."""
        super().run(tmp, task_vars)
        if not self._task.args["plan"]:
            return action.unplanned()
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "check mode: nothing was started"}
        do = "watch" if "watch_seconds" in self._task.args else "gate"
        rehearsal = boolean(self._task.args.get("rehearsal", False))
        plan = self._task.args["plan"]
        times = {name: float(self._task.args[name]) for name in TIMES[do]}
        try:
            args, seconds = gate.question(plan, action.placed(self._task.args), rehearsal, times)
            answer = action.on_host(self, task_vars or {}, ("health", do, do), args, seconds=seconds)
        except Phi4EdgeError as error:
            result = action.failure(error)
            watch = result["answer"].get("watch")
            return {**result, **({"ansible_facts": {"phi4_watch": watch}} if watch else {})}
        if do == "watch":
            return {**action.result(answer), "ansible_facts": {"phi4_watch": answer["watch"]}}
        proof = {"release": args["release"], "proof": answer["proof"]}
        return {**action.result(answer), **({} if rehearsal else {"ansible_facts": {"phi4_gate": proof}})}
