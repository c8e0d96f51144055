# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP exchange with the engine of a host over its Ansible connection, as bytes on the wire."""

from __future__ import annotations

import base64
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

# Beside the answer itself: the connection, and a board that starts Python slowly.
SPARE_SECONDS = 60.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """`phi4_exchange`: sets the fact `phi4_exchange`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"wish"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the port answered, as a fact; who has the port, where that is not whom the wish expects."""
        super().run(tmp, task_vars)
        wish = dict(self._task.args["wish"])
        request = base64.b64decode(wish.pop("request") or "")
        seconds = float(wish["seconds"]) + SPARE_SECONDS
        operation = ("health", "exchange", "exchange")
        try:
            answer = action.on_host(self, task_vars or {}, operation, wish, request, seconds)
        except Phi4EdgeError as error:
            return action.failure(error)
        return {"changed": False, "ansible_facts": {"phi4_exchange": answer}}
