# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a host trust keys, or presents to it what they signed; the host itself verifies it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, trust
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_trust`: one operation of files/trust.py."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"do", "state", "store", "keys", "rotations", "plan"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the host says that it trusts."""
        super().run(tmp, task_vars)
        args = self._task.args
        if args["do"] == "present" and not args["plan"]:
            return action.unplanned()
        try:
            told = {
                "state": args["state"], "check": self._task.check_mode, "wanted": trust.wanted(args.get("plan") or {}),
                "presented": trust.kept(Path(args["store"]).expanduser()), "keys": trust.named(args.get("keys") or {}),
                "rotations": trust.unpacked(str(args.get("rotations") or "")),
            }  # fmt: skip
            answer = action.on_host(self, task_vars or {}, ("trust", "trust", str(args["do"])), told)
        except Phi4EdgeError as error:
            return action.failure(error)
        except OSError as error:
            raise AnsibleActionFail(f"cannot read what was signed on the controller: {error}") from None
        return action.result(answer)
