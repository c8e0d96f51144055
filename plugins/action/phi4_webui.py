# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares the chat page's data directory on the host, stages its part of a release, and makes its administrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.engines import administrator, confinement
    from phi4_edge.data import load_catalog
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, release
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

# Beside the wait for the page: hashing one password on a slow board.
SPARE_SECONDS = 120.0
UNNAMED = (
    "found no password for the chat page's administrator, needed webui_admin_password (8 to 72 bytes, in a vault); "
    "phi4-edge provision makes one and shows it where none is set"
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_webui`: what a release has of the chat page; the role service starts it.

    `administrator` sets the fact `phi4_webui` where it made one: his email, and whether the password was generated.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"do", "data", "root", "release", "plan", "image", "seconds"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of files/webui.py, or of the service role's files/release.py for `stage`."""
        super().run(tmp, task_vars)
        given, variables = self._task.args, task_vars or {}
        if given["do"] == "administrator":
            return self._administrator(variables)
        args: dict[str, Any] = {"check": self._task.check_mode, "diff": self._task.diff}
        if given["do"] == "stage":
            memory = load_catalog().webui.memory
            files = release.page(given["plan"], given["image"], memory, given["root"])
            args |= {"root": given["root"], "release": given["release"], "files": files, "links": {}}
            return action.task(self, variables, ("service", "release", "stage"), args)
        return self._prepare(variables, {**args, "data": given["data"], "user": confinement.USER})

    def _prepare(self, variables: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        """The directory is there. A page that will ask for its administrator is refused here where nobody names one."""
        try:
            person = self._person(variables)
            answer = action.on_host(self, variables, ("webui", "webui", "prepare"), args)
        except Phi4EdgeError as error:
            return action.failure(error)
        if not answer["settled"] and not person.password:
            return {"changed": False, "failed": True, "msg": UNNAMED}
        return action.result(answer)

    def _administrator(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The page has its administrator; his password travels as what is sent, never as an argument."""
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "check mode: nothing was started"}
        seconds = int(self._task.args["seconds"])
        args = {"data": self._task.args["data"], "user": confinement.USER, "seconds": seconds}
        try:
            person = self._person(variables)
            answer = action.on_host(
                self, variables, ("webui", "webui", "administrator"), args, person.order(), seconds + SPARE_SECONDS
            )
        except Phi4EdgeError as error:
            return action.failure(error)
        told = {"phi4_webui": {"administrator": person.email, "generated": person.generated}}
        return {**action.result(answer), **({"ansible_facts": told} if answer["made"] else {})}

    def _person(self, variables: Mapping[str, Any]) -> administrator.Person:
        """Who shall be the administrator, as the host's variables say it."""
        own = {
            name: self._templar.template(variables.get(name)) for name in ("webui_admin_email", "webui_admin_password")
        }
        generated = variables.get(administrator.GENERATED)
        generated = generated if isinstance(generated, Mapping) else {}
        return administrator.person(
            str(own["webui_admin_email"] or ""), str(own["webui_admin_password"] or ""),
            str(generated.get(str(variables.get("inventory_hostname"))) or ""),
        )  # fmt: skip
