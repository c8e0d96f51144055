# SPDX-License-Identifier: GPL-3.0-or-later
"""Has container images in the host's Docker: pushed and loaded once, or pulled by the host by digest."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall, image_push
    from phi4_edge.core.image_push import Image
    from phi4_edge.errors import Phi4EdgeError
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
_NO_DOCKER = "found no running Docker on the host{why}, needed one for {names}: the role docker installs and starts it"


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_image`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {"images", "store", "delivery", "mirror", "staging", "piece_bytes", "reserve_bytes", "retries"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """`phi4_images`: the id of each image as Docker on the host knows it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        self._script = hostcall.compose(*content.host_script("artifact", "image"))
        try:
            return {**result, **self._deliver()}
        except Phi4EdgeError as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"cannot read the image on the controller: {error}") from None

    def _deliver(self) -> dict[str, Any]:
        args = self._task.args
        store, mirror = Path(args["store"]).expanduser(), str(args.get("mirror") or "")
        wanted = image_push.read(str(store), dict(args["images"]), str(args["delivery"]), mirror, _text, _size)
        images = {role: image.to_dict() for role, image in wanted.items()}
        there = self._ask("survey", {"images": images})
        if not there["docker"] and not self._task.check_mode:
            why = f" ({there['why']})" if there["why"] else ""
            raise AnsibleActionFail(_NO_DOCKER.format(why=why, names=", ".join(image.key for image in wanted.values())))
        ids: dict[str, str] = {}
        said: list[str] = []
        for role, image in wanted.items():
            state = there["images"].get(role, {"id": "", "named": False})
            if state["id"] and state["named"]:
                ids[role] = state["id"]
                continue
            ids[role], words = self._one(image, str(state["id"]), there)
            said.append(words)
        return {
            "changed": bool(said),
            "msg": "; ".join(said) or "every image is already there",
            "images": ids,
            "ansible_facts": {"phi4_images": ids},
        }

    def _one(self, image: Image, present: str, there: Mapping[str, Any]) -> tuple[str, str]:
        """Id of the image on the host, and what was done, or in check mode would be."""
        if present:
            return self._done(image, "tag", f"{image.key} has our name now", present)
        if image.pull:
            return self._done(image, "pull", f"{image.key} was pulled by the host", image.id or image.digest)
        if there["docker"]:
            image_push.check_version(image, there["docker"])
        skip = image.lowest(int(there.get("shared", {}).get(image.name, 0)))
        if there["docker"]:
            image_push.check_room(image, skip, there, int(self._task.args["reserve_bytes"]))
        if self._task.check_mode:
            return image.id, f"{image.key}: at most {image.size(skip)} bytes would be sent"
        answer = self._push(image, skip)
        if answer.get("refused") and skip:
            # Docker lost a layer between the look and the load.
            answer = self._push(image, frozenset())
        if "error" in answer:
            raise AnsibleActionFail(str(answer["error"]), result=hostcall.out_of_time(answer))
        return str(answer["id"]), f"{image.key}: {answer['sent']} bytes sent and loaded"

    def _push(self, image: Image, skip: frozenset[str]) -> dict[str, Any]:
        """The image's files were sent like any artifact's, and loaded; the host's answer, with `sent` in it."""
        args = self._task.args
        folder = f"{args['staging']}/image-{image.digest.removeprefix('sha256:')}"
        task = self._task.copy()
        task.args = {
            "name": f"the image {image.key}", "source": image.folder, "destination": folder, "skip": sorted(skip),
            **{name: args[name] for name in ("staging", "piece_bytes", "reserve_bytes", "retries")},
        }  # fmt: skip
        pusher = self._shared_loader_obj.action_loader.get(
            "phi4_artifact", task=task, connection=self._connection, play_context=self._play_context,
            loader=self._loader, templar=self._templar, shared_loader_obj=self._shared_loader_obj,
        )  # fmt: skip
        pushed = pusher.run(task_vars=self._variables)
        return {**self._ask("load", {"image": image.to_dict(), "folder": folder}), "sent": pushed["sent"]}

    def _done(self, image: Image, what: str, words: str, expected: str) -> tuple[str, str]:
        if self._task.check_mode:
            return expected, f"would be done: {words}"
        answer = self._ask(what, {"image": image.to_dict()})
        if "error" in answer:
            raise AnsibleActionFail(str(answer["error"]), result=hostcall.out_of_time(answer))
        return str(answer["id"]), words

    def _ask(self, what: str, more: Mapping[str, Any]) -> dict[str, Any]:
        python = self._templar.template(self._variables.get("ansible_python_interpreter"))
        args = {"do": what, "staging": self._task.args["staging"], **more}
        return hostcall.call(
            self._low_level_execute_command,
            secrets.token_hex(8),
            python,
            self._script,
            args,
            seconds=getitimer(ITIMER_REAL)[0],
            lock=hostcall.held(self._templar.available_variables),
        )


def _text(path: str) -> str | None:
    return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None


def _size(path: str) -> tuple[int, bytes]:
    """Size of a file and its last four bytes, which in a gzip file say how long it is unpacked."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as stream:
        stream.seek(max(size - 4, 0))
        return size, stream.read()
