# SPDX-License-Identifier: GPL-3.0-or-later
"""Has container images in the host's Docker: pushed and loaded once, or pulled by the host by digest."""

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
    from phi4_edge.remote import action, image_push
    from phi4_edge.remote.images import Delivery, some, tail
    from phi4_edge.remote.ranges import Carrier
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_image`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {
            "images", "store", "delivery", "mirror", "staging", "piece_bytes", "reserve_bytes", "retries", "depot",
            "bandwidth",
        }
    )  # fmt: skip

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """`phi4_images`: the id of each image as Docker on the host knows it."""
        super().run(tmp, task_vars)
        self._variables, args = task_vars or {}, self._task.args
        host, pieces = str(self._variables.get("inventory_hostname")), int(args["piece_bytes"])
        rate, depot = values.rate(args.get("bandwidth")), str(args.get("depot") or "")

        def say(words: str) -> None:
            Display().display(f"{host}: {words}")

        delivery = Delivery(
            staging=str(args["staging"]), piece_bytes=pieces, check=self._task.check_mode,
            reserve_bytes=int(args["reserve_bytes"]), ask=self._ask, ask_push=self._ask_push, say=say, rate=rate,
            carrier=Carrier(depot, host, rate, pieces, self._fetch, say),
        )  # fmt: skip
        store, mirror = str(Path(args["store"]).expanduser()), str(args.get("mirror") or "")
        try:
            wanted = image_push.read(store, dict(args["images"]), str(args["delivery"]), mirror, some, tail)
            done = delivery.deliver(wanted)
        except OSError as error:
            raise AnsibleActionFail(f"cannot read the image on the controller: {error}") from None
        except Phi4EdgeError as error:
            return action.failure(error)
        return {**done, "ansible_facts": {"phi4_images": done["images"]}}

    def _ask(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return action.on_host(self, self._variables, ("artifact", "image", what), args, payload)

    def _ask_push(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return self._repeated(("artifact", "push", what), args, payload)

    def _fetch(self, what: str, args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return self._repeated(("artifact", "fetch", what), args, payload)

    def _repeated(self, operation: tuple[str, str, str], args: Mapping[str, Any], payload: bytes) -> Mapping[str, Any]:
        return action.repeated(
            lambda: action.on_host(self, self._variables, operation, args, payload),
            AnsibleConnectionFailure,
            int(self._task.args["retries"]),
        )
