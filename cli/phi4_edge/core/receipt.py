"""The receipt that a committed release leaves on the host, as the probe re-verified it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from phi4_edge.core.text import LARGEST, clean

FORMAT = "phi4-edge/receipt/1"
# A test holds the unit's template to it.
OUR_DESCRIPTION = "Phi-4 on this gateway"
PROBLEMS = ("missing", "changed", "mode", "link")
# A release of one engine has some thousands of files; more findings than this say nothing new.
MOST_DRIFT = 1000
MOST_CONTAINERS = 50


@dataclass(frozen=True, slots=True)
class Drift:
    """One managed file that is not as the receipt says; problem is one of `PROBLEMS`."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd says about the unit of our name."""

    load: str
    active: str
    sub: str
    enabled: str
    restarts: int
    main_pid: int
    description: str = ""

    @property
    def up(self) -> bool:
        """True when the unit is active now and will be after a reboot."""
        return self.active == "active" and self.enabled == "enabled"

    @property
    def foreign(self) -> bool:
        """True for a unit that somebody else wrote under our name; every one of ours begins its description alike."""
        return self.load == "loaded" and bool(self.description) and not self.description.startswith(OUR_DESCRIPTION)


@dataclass(frozen=True, slots=True)
class Image:
    """One container image that the release runs: key in the store, digest of its manifest, id on the host."""

    key: str = ""
    digest: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of ours as it is now: service (engine, webui), id of its image, state as Docker words it."""

    service: str
    image: str
    state: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was committed, without the file list; all texts "" and numbers 0 where there is none.

    `store` names the folder of models that an engine made for itself.

    `memory_need` and `vram_need` (bytes) are what the release takes while it serves. `containers` are those that the
    probe found, None where nobody could look.

    `vram_held_by_others` (bytes) and `gpu` (UUID) are what the plan saw before our engine took its share, and
    `image_disk` (bytes) is what its image takes, so that a second look at a serving host decides the same.
    """

    present: bool
    version: str = ""
    host: str = ""
    release: str = ""
    previous_release: str = ""
    fingerprint: str = ""
    engine: str = ""
    quantization: str = ""
    model: str = ""
    artifact: str = ""
    digest: str = ""
    bind: str = ""
    port: int = 0
    unit: str = ""
    committed_at: str = ""
    runtime: str = ""
    context_length: int = 0
    parallel: int = 0
    threads: int = 0
    gpu: str = ""
    vram_held_by_others: int = 0
    image_disk: int = 0
    memory_need: int = 0
    vram_need: int = 0
    service_manager: str = ""
    store: str = ""
    image: Image = Image()
    webui_image: Image = Image()
    containers: tuple[Container, ...] | None = None
    file_count: int = 0
    drift: tuple[Drift, ...] = ()
    error: str = ""

    @property
    def missing_containers(self) -> tuple[str, ...]:
        """Services whose container does not run, () where nobody could look."""
        running = {item.service for item in self.containers or () if item.state == "running"}
        return tuple(name for name in self._wanted if self.containers is not None and name not in running)

    @property
    def foreign_containers(self) -> tuple[str, ...]:
        """Services that run from another image than the one that was committed."""
        return tuple(
            item.service
            for item in self.containers or ()
            if item.state == "running" and (wanted := self._wanted.get(item.service)) and item.image != wanted
        )

    @property
    def _wanted(self) -> dict[str, str]:
        """Image id by service, of the containers that the release runs."""
        engine = {"engine": self.image.id} if self.service_manager == "compose" else {}
        return engine | ({"webui": self.webui_image.id} if self.webui_image.id else {})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` of it gives an equal receipt."""
        plain = asdict(self)
        plain["drift"] = [asdict(item) for item in self.drift]
        body = {theirs: plain.pop(ours) for theirs, ours in _TEXTS.items()}
        body |= {name: plain.pop(name) for name in _NUMBERS}
        body["model"] = {theirs: plain.pop(ours) for theirs, ours in _MODEL.items()}
        body |= {theirs: plain.pop(ours) for theirs, ours in _IMAGES.items()}
        found = plain.pop("containers")
        if found is not None:
            plain["containers"] = list(found)
        return plain | {"receipt": {"format": FORMAT} | body}


ABSENT = Receipt(present=False)

# Names in the file on the host, and the fields here.
_TEXTS = {
    "phi4_edge_version": "version",
    "host": "host",
    "release": "release",
    "previous_release": "previous_release",
    "plan_fingerprint": "fingerprint",
    "engine": "engine",
    "quantization": "quantization",
    "bind": "bind",
    "unit": "unit",
    "committed_at": "committed_at",
    "runtime": "runtime",
    "gpu": "gpu",
    "service_manager": "service_manager",
    "store": "store",
}
_NUMBERS = (
    *("port", "context_length", "parallel", "threads", "vram_held_by_others", "image_disk"),
    *("memory_need", "vram_need"),
)
_IMAGES = {"image": "image", "webui_image": "webui_image"}
_MODEL = {"id": "model", "artifact": "artifact", "digest": "digest"}


def from_dict(data: object) -> Receipt:
    """Return the receipt in a verification document of the probe; never raises.

    Anything that is no receipt of ours becomes one with `error` set, so that the next run repairs the host.
    """
    if not isinstance(data, Mapping):
        return Receipt(present=True, error="the verification is not an object")
    error = clean(data.get("error"), 300)
    if data.get("present") is not True:
        return Receipt(present=bool(error), error=error)
    body = data.get("receipt")
    if not isinstance(body, Mapping) or body.get("format") != FORMAT:
        return Receipt(present=True, error=error or f"not a receipt of format {FORMAT}")
    model = body.get("model")
    model = model if isinstance(model, Mapping) else {}
    values: dict[str, Any] = {ours: clean(body.get(theirs)) for theirs, ours in _TEXTS.items()}
    values |= {ours: clean(model.get(theirs)) for theirs, ours in _MODEL.items()}
    values |= {name: _count(body.get(name)) for name in _NUMBERS}
    values |= {ours: _image(body.get(theirs)) for theirs, ours in _IMAGES.items()}
    return Receipt(
        present=True,
        containers=_containers(data.get("containers")),
        file_count=_count(data.get("file_count")),
        drift=_drift(data.get("drift")),
        error=error,
        **values,
    )


def status(receipt: Receipt, service: Service | None) -> str:
    """Return one word: absent, unreadable, drifted, stopped or serving."""
    if not receipt.present:
        return "absent"
    if receipt.error:
        return "unreadable"
    if receipt.drift or receipt.foreign_containers:
        return "drifted"
    return "serving" if service is not None and service.up and not receipt.missing_containers else "stopped"


def _image(data: object) -> Image:
    if not isinstance(data, Mapping):
        return Image()
    return Image(clean(data.get("key"), 300), clean(data.get("digest"), 80), clean(data.get("id"), 80))


def _containers(data: object) -> tuple[Container, ...] | None:
    if not isinstance(data, list):
        return None
    found = (item for item in data[:MOST_CONTAINERS] if isinstance(item, Mapping))
    return tuple(
        Container(clean(item.get("service"), 40), clean(item.get("image"), 80), clean(item.get("state"), 40))
        for item in found
    )


def _drift(data: object) -> tuple[Drift, ...]:
    if not isinstance(data, list):
        return ()
    found = (item for item in data[:MOST_DRIFT] if isinstance(item, Mapping))
    return tuple(
        Drift(clean(item.get("path"), 512), problem if problem in PROBLEMS else "changed")
        for item in found
        if (problem := item.get("problem")) is not None
    )


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= LARGEST else 0
