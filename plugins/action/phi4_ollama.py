# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes Ollama's store on the host from the pushed model, and stages the engine's part of a release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from phi4_edge import content
    from phi4_edge.core.engines.ollama_store import request
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_ollama`: what an Ollama release consists of, apart from engine and unit."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "plan", "paths", "image", "library", "root", "release", "links"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/create.py, or of the service role's files/release.py for `stage`."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        args = {**self._task.args, "check": self._task.check_mode, "diff": self._task.diff}
        if args.pop("do") == "stage":
            return action.task(self, self._variables, ("service", "release", "stage"), {**args, "files": {}})
        try:
            return self._create(args)
        except Phi4EdgeError as error:
            return action.failure(error)

    def _create(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The store is there. It takes minutes where it is not, so that is said first."""
        wish = request(args, (content.roles() / "ollama" / "templates" / "chat.gotmpl").read_text())
        found = action.on_host(self, self._variables, ("ollama", "create", "inspect"), wish)
        if found["complete"] and not found["surplus"]:
            return {"changed": False, "msg": "Ollama's store is already there"}
        names = ", ".join(one["model"] for one in wish["requests"])
        if self._task.check_mode:
            would = f"give up {found['surplus']} bytes that are there twice" if found["complete"] else f"make {names}"
            return {"changed": True, "msg": f"Ollama would {would}"}
        if not found["complete"]:
            Display().display(f"{self._variables.get('inventory_hostname')}: Ollama makes {names}")
        done = action.on_host(self, self._variables, ("ollama", "create", "create"), wish)
        said = done["said"] + [f"its copy is kept, {done['freed']} bytes freed"] * bool(done["freed"])
        return {**action.result(done), "msg": f"Ollama made {names}: {'; '.join(said)}"}
