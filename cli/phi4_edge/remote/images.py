"""Has container images in a host's Docker: pushed and loaded once, or pulled by the host by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.errors import FactsError, HostFailedError
from phi4_edge.remote import image_push
from phi4_edge.remote.action import HostRefusedError
from phi4_edge.remote.image_push import ImageToPush
from phi4_edge.remote.push import Ask, Order, push
from phi4_edge.remote.ranges import Carrier

_NO_DOCKER = "found no running Docker on the host{why}, needed one for {names}: the role docker installs and starts it"


@dataclass(frozen=True)
class Delivery:
    """How images reach one host: `ask` its image.py, `ask_push` its push.py; sizes in bytes; `check`: only said.

    `rate` and `carrier` are those of `push`.
    """

    staging: str
    piece_bytes: int
    reserve_bytes: int
    check: bool
    ask: Ask
    ask_push: Ask
    say: Callable[[str], None]
    rate: int = 0
    carrier: Carrier | None = None

    def deliver(self, wanted: Mapping[str, ImageToPush]) -> dict[str, Any]:
        """`images`: the id of each image on the host by what it is for; `changed` and `msg`.

        Raises HostFailedError where there is no Docker, no room, or another image than the wanted one came to be.
        """
        there = self._asked("survey", {"images": {role: image.to_dict() for role, image in wanted.items()}})
        if not there["docker"] and not self.check:
            why = f" ({there['why']})" if there["why"] else ""
            raise HostFailedError(_NO_DOCKER.format(why=why, names=", ".join(image.key for image in wanted.values())))
        ids: dict[str, str] = {}
        said: list[str] = []
        for role, image in wanted.items():
            state = there["images"].get(role, {"id": "", "named": False})
            if state["id"] and state["named"]:
                ids[role] = right(image, state["id"])
                continue
            ids[role], words = self._one(image, str(state["id"]), there)
            said.append(words)
        return {"changed": bool(said), "msg": "; ".join(said) or "every image is already there", "images": ids}

    def _one(self, image: ImageToPush, present: str, there: Mapping[str, Any]) -> tuple[str, str]:
        """Id of the image on the host, and what was done, or in check mode would be."""
        if present:
            return self._done(image, "tag", f"{image.key} has our name now", present)
        if image.pull:
            return self._done(image, "pull", f"{image.key} was pulled by the host", image.id or image.digest)
        if there["docker"]:
            image_push.check_version(image, there["docker"])
        skip = image.lowest(int(there.get("shared", {}).get(image.name, 0)))
        if there["docker"]:
            image_push.check_room(image, skip, there, self.reserve_bytes)
        if self.check:
            return image.id, f"{image.key}: at most {image.size(skip)} bytes would be sent"
        try:
            answer, sent = self._loaded(image, skip)
        except HostRefusedError as error:
            if not (skip and error.details.get("refused")):
                raise
            # Docker lost a layer between the look and the load.
            answer, sent = self._loaded(image, frozenset())
        return right(image, str(answer["id"])), f"{image.key}: {sent} bytes sent and loaded"

    def _loaded(self, image: ImageToPush, skip: frozenset[str]) -> tuple[Mapping[str, Any], int]:
        """The host's answer after the image's files were sent like any artifact's, and the bytes of that."""
        order = Order(
            name=f"the image {image.key}", source=Path(image.folder), skip=skip, staging=self.staging,
            destination=f"{self.staging}/image-{image.digest.removeprefix('sha256:')}",
            piece_bytes=self.piece_bytes, reserve_bytes=self.reserve_bytes, digest=image.content, rate=self.rate,
        )  # fmt: skip
        sent = push(order, self.ask_push, self.say, False, self.carrier)["sent"]
        return self._asked("load", {"image": image.to_dict(), "folder": order.destination}), sent

    def _done(self, image: ImageToPush, what: str, words: str, expected: str) -> tuple[str, str]:
        if self.check:
            return expected, f"would be done: {words}"
        return right(image, str(self._asked(what, {"image": image.to_dict()})["id"])), words

    def _asked(self, what: str, more: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.ask(what, {"staging": self.staging, **more}, b"")


def right(image: ImageToPush, found: str) -> str:
    """The id that the host gave, which is the image's where the controller knows it. Raises FactsError otherwise.

    Docker names an image by its configuration, with containerd's store by its manifest.
    """
    if image.id and found not in (image.id, image.digest):
        raise FactsError(
            f"found the image {found[:19]}… on the host under the name of {image.key}, needed {image.id[:19]}…: "
            "something else answers there, or Docker's store is damaged; remove the image on the host and run again"
        )
    return found


def some(path: str, limit: int) -> bytes | None:
    """At most `limit` bytes of a file on the controller; None where there is none."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as stream:
        return stream.read(limit)


def tail(path: str) -> tuple[int, bytes]:
    """Size of a file and its last four bytes, which in a gzip file say how long it is unpacked."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as stream:
        stream.seek(max(size - 4, 0))
        return size, stream.read()
