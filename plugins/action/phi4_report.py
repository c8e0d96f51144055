# SPDX-License-Identifier: GPL-3.0-or-later
"""Says in one line what was found on a host, or done to it: the same words as the command's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import data
    from phi4_edge.core.doctor import examine
    from phi4_edge.core.doctor import words as doctor_words
    from phi4_edge.core.doctor.case import opened, trouble
    from phi4_edge.core.facts import lock, parse, status, words
    from phi4_edge.core.packages.commands import see
    from phi4_edge.core.plan.decide import Plan, decide
    from phi4_edge.core.plan.overrides import Overrides
    from phi4_edge.core.rollout import words as rollout_words
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, planning
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

# What sets each fact, for whoever includes the roles in another order.
SET_BY = {"phi4_facts": "probe", "phi4_doctor": "doctor", "phi4_plan": "plan", "phi4_lock": "lock"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_report`: `msg` is the line. What a host said in it stays text: no template, nothing a terminal obeys."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset({"about", "changed", "store", "fail"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The line, shown as debug shows one. A report of the doctor fails on a problem where it shall."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        self._host = str(self._variables.get("inventory_hostname", ""))
        try:
            msg, bad = self._told(str(self._task.args["about"]))
        except Phi4EdgeError as error:
            return action.failure(error)
        if bad and boolean(self._task.args.get("fail", True)):
            return {"changed": False, "failed": True, "msg": msg}
        return {"changed": False, "msg": msg, "_ansible_verbose_always": True}

    def _told(self, about: str) -> tuple[str, bool]:
        """The line, and whether it is about a problem."""
        told: Mapping[str, Callable[[], str]] = {
            "detect": lambda: words.found(self._facts().to_dict()),
            "status": lambda: words.serving(status.classify(self._facts(), None).to_dict()),
            "plan": lambda: rollout_words.planned({**self._fact("phi4_plan"), "host": self._host}),
            "lock": lambda: lock.line(self._host, self._fact("phi4_lock")),
            "provision": lambda: self._ended(about),
            "rollback": lambda: self._ended(about),
            "remove": lambda: self._went_well(about, boolean(self._task.args["changed"])),
        }
        if about == "doctor":
            return self._doctor()
        if about not in told:
            raise AnsibleActionFail(f"found about: {about}, needed one of {', '.join(sorted([*told, 'doctor']))}")
        return told[about](), False

    def _fact(self, name: str) -> dict[str, Any]:
        """A fact that a role of ours has set on the host."""
        found = (self._variables.get("ansible_facts") or {}).get(name)
        if not isinstance(found, Mapping):
            raise AnsibleActionFail(
                f"found no fact {name}, needed it; include phi4_edge.edge.{SET_BY[name]} before this task"
            )
        return dict(found)

    def _facts(self) -> parse.HostFacts:
        return parse.parse({**self._fact("phi4_facts"), "host": self._host})

    def _ended(self, operation: str) -> str:
        """How a play ended that has done what the plan says."""
        plan = self._fact("phi4_plan")
        return self._went_well(operation, plan["action"] != "none", str(plan["release"] or ""))

    def _went_well(self, operation: str, changed: bool, release: str = "") -> str:
        said = "check" if self._task.check_mode and changed else operation
        return rollout_words.went_well(said, self._host, changed, release)

    def _doctor(self) -> tuple[str, bool]:
        """What the command says of a host that was reached, and whether provisioning would stop at it."""
        seen = (self._variables.get("ansible_facts") or {}).get("phi4_facts")
        seen = {**seen, "host": self._host} if isinstance(seen, Mapping) else {}
        wanted = Overrides.from_vars(self._host, planning.wishes(self._variables, self._templar.template))
        catalog = data.load_catalog()

        def decided() -> tuple[parse.HostFacts, Plan]:
            facts, store = parse.parse(seen), Path(str(self._task.args["store"])).expanduser()
            return facts, decide(facts, data.load_table(), catalog, wanted, planning.inputs(store))

        case, findings = opened(
            examine.Case(self._host, self._fact("phi4_doctor"), seen, overrides=wanted, catalog=catalog), decided
        )
        if not seen:
            findings.append(trouble(self._host, "facts", "the probe returned no facts", see(self._host)))
        findings += examine.examine(case)
        *_, entry = examine.document([self._host], findings, ())["hosts"]
        return doctor_words.line(entry), entry["level"] == examine.Level.PROBLEM
