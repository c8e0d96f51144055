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
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.remote import action, image_push
    from phi4_edge.remote.images import Delivery, some, tail
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_image
short_description: Have container images in the host's Docker, and set the fact phi4_images
description:
  - Asks Docker what it holds. What is missing is pushed like any artifact and loaded, or pulled by the host by digest.
  - Counts an image as there only when its id and its layers are the right ones.
options:
  images: {description: The plan's image by what it is for (engine, webui)., type: dict, required: true}
  store: {description: Store of artifacts on the controller., type: path, required: true}
  delivery: {description: How images reach the host., type: str, required: true, choices: [push, registry]}
  mirror: {description: "Registry that stands in for all others, host[:port][/prefix].", type: str}
  staging: {description: Directory on the host for what is not complete., type: path, required: true}
  piece_bytes: {description: Bytes sent in one request., type: int, required: true}
  reserve_bytes: {description: Bytes of the host's disk that must stay free., type: int, required: true}
  retries: {description: How often a lost connection is tried again., type: int, required: true}
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_image`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {"images", "store", "delivery", "mirror", "staging", "piece_bytes", "reserve_bytes", "retries"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """`phi4_images`: the id of each image as Docker on the host knows it."""
        super().run(tmp, task_vars)
        self._variables, args = task_vars or {}, self._task.args
        host = self._variables.get("inventory_hostname")
        delivery = Delivery(
            staging=str(args["staging"]), piece_bytes=int(args["piece_bytes"]), check=self._task.check_mode,
            reserve_bytes=int(args["reserve_bytes"]), ask=self._ask, ask_push=self._ask_push,
            say=lambda words: Display().display(f"{host}: {words}"),
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
        return action.repeated(
            lambda: action.on_host(self, self._variables, ("artifact", "push", what), args, payload),
            AnsibleConnectionFailure,
            int(self._task.args["retries"]),
        )
