# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a directory on the host equal to one on the controller, in verified pieces, resumable after any cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.push import Order, push
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_artifact`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "name", "source", "digest", "wheels", "skip", "destination", "staging", "piece_bytes", "reserve_bytes",
            "retries",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """`sent`: bytes; nothing is sent to a host that has it all."""
        super().run(tmp, task_vars)
        self._variables, args = task_vars or {}, self._task.args
        order = Order(
            name=str(args["name"]), source=Path(args["source"]).expanduser(), destination=str(args["destination"]),
            staging=str(args["staging"]), piece_bytes=int(args["piece_bytes"]), digest=str(args.get("digest") or ""),
            reserve_bytes=int(args["reserve_bytes"]), skip=frozenset(args.get("skip") or ()),
            wheels={name: str(value) for name, value in (args.get("wheels") or {}).items()},
        )  # fmt: skip
        host = self._variables.get("inventory_hostname")
        try:
            return push(order, self._ask, lambda words: Display().display(f"{host}: {words}"), self._task.check_mode)
        except OSError as error:
            raise AnsibleActionFail(f"cannot read {order.name} on the controller: {error}") from None
        except Phi4EdgeError as error:
            return action.failure(error)

    def _ask(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        """The host's answer; a lost connection is tried again, for every request may be repeated without harm."""
        return action.repeated(
            lambda: action.on_host(self, self._variables, ("artifact", "push", what), args, payload),
            AnsibleConnectionFailure,
            int(self._task.args["retries"]),
        )
