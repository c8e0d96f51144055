"""The receipt that a committed release leaves on the host, as the probe re-verified it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from phi4_edge import __version__
from phi4_edge.core.facts.units import NOT_HEALING, Healing, Service
from phi4_edge.core.text import LARGEST, clean

FORMAT = "phi4-edge/receipt/1"
PROBLEMS = ("missing", "changed", "mode", "owner", "link", "added", "untagged", "stopped", "without effect")
DAEMON_JSON = "/etc/docker/daemon.json"
# A release of one engine has some thousands of files; more findings than this say nothing new.
MOST_DRIFT, MOST_CONTAINERS = 1000, 50


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as committed: a file, or what the release needs (a group, a GPU); see `PROBLEMS`."""

    path: str
    problem: str

    @property
    def managed(self) -> bool:
        """True for a file that the receipt names."""
        return self.path.startswith("/") and self.path != DAEMON_JSON and self.problem != "added"


@dataclass(frozen=True, slots=True)
class CommittedImage:
    """One container image that the release runs: key in the store, digest of its manifest, id on the host."""

    key: str = ""
    digest: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of ours as it is now: service (engine, webui), id of its image, state as Docker words it.

    `health` is what its health check says, "" without one. `memory_kills`: what the kernel ended in it for want of it.
    """

    service: str
    image: str
    state: str
    health: str = ""
    memory_kills: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was committed, without the file list; all texts "" and numbers 0 where there is none.

    `store` names the folder of models that an engine made for itself. `memory_need` and `vram_need` (bytes) are what
    the release takes while it serves. `containers` are those that the probe found, None where nobody could look.
    `edited`: it is not as it was written. `general`: drop-ins of an administrator's for every service of the host.

    `vram_held_by_others` (bytes) and `gpu` (UUID) are what the plan saw before our engine took its share, and
    `image_disk` (bytes) is what its image takes, so that a second look at a serving host decides the same; so does
    `memory_bandwidth` (bytes per second).
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
    memory_bandwidth: int = 0
    service_manager: str = ""
    store: str = ""
    image: CommittedImage = CommittedImage()
    webui_image: CommittedImage = CommittedImage()
    containers: tuple[Container, ...] | None = None
    file_count: int = 0
    drift: tuple[Drift, ...] = ()
    error: str = ""
    edited: bool = False
    general: tuple[str, ...] = ()
    healing: Healing = NOT_HEALING

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
    def starting_containers(self) -> tuple[str, ...]:
        """Services whose container runs and whose health check does not count yet."""
        return tuple(item.service for item in self.containers or () if item.health == "starting")

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
        del plain["healing"]
        found = plain.pop("containers")
        if found is not None:
            plain["containers"] = list(found)
        return plain | {"receipt": {"format": FORMAT} | body, "heal": self.healing.to_dict()}


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
    *("memory_need", "vram_need", "memory_bandwidth"),
)
_IMAGES = {"image": "image", "webui_image": "webui_image"}
_MODEL = {"id": "model", "artifact": "artifact", "digest": "digest"}


def from_dict(data: object) -> Receipt:
    """Return the receipt in a verification document of the probe; never raises.

    Anything that is no receipt of ours becomes one with `error` set, so that the next run repairs the host.
    """
    if not isinstance(data, Mapping):
        return Receipt(present=True, error="the verification is not an object")
    error, healing = clean(data.get("error"), 300), Healing.from_dict(data.get("heal"))
    if data.get("present") is not True:
        return Receipt(present=bool(error), error=error, healing=healing)
    body = data.get("receipt")
    if not isinstance(body, Mapping) or body.get("format") != FORMAT:
        return Receipt(present=True, error=error or f"not a receipt of format {FORMAT}", healing=healing)
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
        edited=data.get("edited") is True,
        general=tuple(clean(path, 512) for path in _most(data.get("general"), MOST_CONTAINERS)),
        healing=healing,
        **values,
    )


def status(receipt: Receipt, service: Service | None) -> str:
    """Return one word: absent, unreadable, drifted, stopped or serving."""
    if not receipt.present:
        return "absent"
    if receipt.error:
        return "unreadable"
    if receipt.drift or receipt.foreign_containers or (service is not None and service.outdated):
        return "drifted"
    return "serving" if service is not None and service.up and not receipt.missing_containers else "stopped"


def _image(data: object) -> CommittedImage:
    if not isinstance(data, Mapping):
        return CommittedImage()
    return CommittedImage(clean(data.get("key"), 300), clean(data.get("digest"), 80), clean(data.get("id"), 80))


def _containers(data: object) -> tuple[Container, ...] | None:
    if not isinstance(data, list):
        return None
    return tuple(
        Container(
            clean(item.get("service"), 40),
            clean(item.get("image"), 80),
            clean(item.get("state"), 40),
            clean(item.get("health"), 40),
            _count(item.get("memory_kills")),
        )
        for item in data[:MOST_CONTAINERS]
        if isinstance(item, Mapping)
    )


def _drift(data: object) -> tuple[Drift, ...]:
    return tuple(
        Drift(clean(item.get("path"), 512), problem if problem in PROBLEMS else "changed")
        for item in _most(data, MOST_DRIFT)
        if isinstance(item, Mapping) and (problem := item.get("problem")) is not None
    )


def _most(data: object, most: int) -> list[Any]:
    return data[:most] if isinstance(data, list) else []


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= LARGEST else 0


def body(plan: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return what the receipt says about the plan, without files, links and images."""
    names = ("release", "engine", "quantization", "bind", "port", "unit", "context_length", "parallel")
    model = {name: plan["model"][name] for name in ("id", "artifact", "digest")}
    return {
        "format": FORMAT, "phi4_edge_version": __version__, "host": host, "plan_fingerprint": plan["fingerprint"],
        "model": model, "runtime": (plan["runtime"] or {}).get("id") or "", "threads": plan["knobs"].get("threads", 0),
        "service_manager": plan["service_manager"], "steps": list(plan.get("steps") or ()),
        "store": plan["knobs"].get("store") or "",
        **{name: plan[name] for name in names}, **before_us(plan),
    }  # fmt: skip


def before_us(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the plan saw that nobody can see any more once its engine runs: see `Receipt`."""
    gpu, memory = plan["knobs"].get("gpu") or "", plan.get("memory") or {}
    images = [image for image in (plan["image"], (plan.get("webui") or {}).get("image")) if image]
    found = {
        "gpu": gpu,
        "vram_held_by_others": memory.get("held_by_others", 0) if gpu else 0,
        "image_disk": sum(image["disk"] for image in images),
        "memory_need": memory.get("ram_need", 0),
        "vram_need": memory.get("vram_need", 0),
        "memory_bandwidth": (plan.get("forecast") or {}).get("bandwidth") or 0,
    }
    return {name: value for name, value in found.items() if value}


def containers(plan: Mapping[str, Any], images: Mapping[str, str]) -> dict[str, Any]:
    """Return the images that run, as the plan names them and as the host knows them; {} for a native engine alone."""
    found = {"image": (plan["image"], "engine"), "webui_image": ((plan.get("webui") or {}).get("image"), "webui")}
    return {
        name: {"key": image.get("key", ""), "digest": image.get("digest") or "", "id": images.get(service, "")}
        for name, (image, service) in found.items()
        if image
    }


def without_gate(release: str) -> str:
    """Return why a release is not committed of which no gate of this run says that it serves."""
    return (
        f"found no gate of this run that {release} passed, needed one before its receipt is written: role health comes "
        "between the switch and the receipt, and cannot be left out (--skip-tags, --start-at-task). Run the whole again"
    )
