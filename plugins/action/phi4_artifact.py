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
    from phi4_edge.core import values
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
    from phi4_edge.remote.push import Order, push
    from phi4_edge.remote.ranges import Carrier
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_artifact`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "name", "source", "digest", "wheels", "skip", "destination", "staging", "piece_bytes", "reserve_bytes",
            "retries", "depot", "bandwidth",
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
            rate=values.rate(args.get("bandwidth")),
        )  # fmt: skip
        host = str(self._variables.get("inventory_hostname"))

        def say(words: str) -> None:
            Display().display(f"{host}: {words}")

        depot = str(args.get("depot") or "")
        carrier = Carrier(depot, host, order.rate, order.piece_bytes, self._fetch, say)
        try:
            return push(order, self._ask, say, self._task.check_mode, carrier)
        except OSError as error:
            raise AnsibleActionFail(f"cannot read {order.name} on the controller: {error}") from None
        except Phi4EdgeError as error:
            return action.failure(error)

    def _ask(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return self._asked(("artifact", "push", what), args, payload)

    def _fetch(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return self._asked(("artifact", "fetch", what), args, payload)

    def _asked(self, operation: tuple[str, str, str], args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        """The host's answer; a lost connection is tried again, for every request may be repeated without harm."""
        return action.repeated(
            lambda: action.on_host(self, self._variables, operation, args, payload),
            AnsibleConnectionFailure,
            int(self._task.args["retries"]),
        )
