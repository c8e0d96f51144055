# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds what the inventory sets for the roles of a plan to their specifications, all of them in one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.core.plan.changes import settings_alone
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_arguments`: what Ansible's own task before each role does, for several roles or all of a plan's at once."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset({"plan", "roles"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fails with all that is wrong with the variables of these roles, or where there is no plan."""
        super().run(tmp, task_vars)
        args, variables = self._task.args, task_vars or {}
        plan = args.get("plan") or {}
        if not plan and "roles" not in args:
            return action.unplanned()
        # A name of a role of ours, or nothing: a plan that a host kept says what it likes.
        ours = {path.name for path in ROLES.iterdir()} & {str(name) for name in args.get("roles", plan.get("steps"))}
        wrong = {role: self._wrong(self._options(role), variables) for role in sorted(ours)}
        told = [f"role {role}: {message}" for role, messages in wrong.items() for message in messages]
        if told:
            return {"changed": False, "failed": True, "msg": "Validation of arguments failed:\n" + "\n".join(told)}
        alone = bool(plan) and settings_alone(plan) and not self._task.check_mode
        return {"changed": False, "msg": "What is set for the roles is as they specify it", "settings_alone": alone}

    def _options(self, role: str) -> dict[str, Any]:
        """The options of the role's main entry point."""
        document = self._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"))
        return dict(document["argument_specs"]["main"].get("options") or {})

    def _wrong(self, options: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        """What Ansible says of those options that are set; one that is made of what is not known yet is left out."""
        given = {}
        for name in sorted(set(options) & set(variables)):
            try:
                given[name] = self._templar.template(variables[name])
            except AnsibleError:  # what uses it says so
                continue
        spec = {name: options[name] for name in given}
        return list(ArgumentSpecValidator(spec).validate(given, validate_role_argument_spec=True).error_messages)
