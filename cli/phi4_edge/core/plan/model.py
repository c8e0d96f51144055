"""The plan of one host: the published document as frozen records (schema: `data/plan.schema.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from phi4_edge.core.facts.model import to_plain
from phi4_edge.core.layout import STANDARD, UNIT, Layout
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError

FORMAT = "phi4-edge/plan/1"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `need` = weights + kv_cache + overhead + prompt_cache; it fits when need + os_reserve <= available.

    `prompt_cache`: finished prompts that the engine may keep in RAM, also beside a model in a GPU, whose `need` is then
    without them. The choice is made without it: it takes what the host's budget leaves.

    `later`: what of `ram_need` an engine that was just started does not take yet: prompts, and the KV cache of all
    answers but one, where it is taken as answers get longer. A start asks for the rest.

    `ram_need` and `vram_need` are what the release takes of each while it serves: the receipt keeps them, and the next
    plan asks whether old and new fit beside each other.
    """

    kind: str
    weights: int
    kv_cache: int
    overhead: int
    prompt_cache: int
    os_reserve: int
    need: int
    available: int
    held_by_others: int
    ram_need: int
    vram_need: int
    later: int
    measured: bool


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes. `need` is the worst moment of an installation from nothing, `kept` what stays of it at most.

    `to_write` is what this change adds beside what is there at its worst moment, `free` what is free now.
    """

    need: int
    kept: int
    available: int
    to_write: int
    free: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """The artifact to serve; digest None: not in the controller's store yet."""

    id: str
    served_name: str
    artifact: str
    digest: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """The engine's files on the host where it runs natively; digest and id None: not known to this controller.

    `artifact` names them in the controller's store; None where they are made for the host's Python (wheels).
    """

    artifact: str | None
    digest: str | None
    python: str
    arch: str
    id: str | None


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One container image. `architecture` as registries name it (amd64, arm64); `key` names it in the store.

    `digest` is that of the manifest for this architecture (sha256:...); None: not pinned yet. `reference` is what a
    registry is asked for, without the mirror.
    """

    repository: str
    tag: str
    architecture: str
    key: str
    digest: str | None
    reference: str
    cuda: str
    disk: int


@dataclass(frozen=True, slots=True)
class WebUi:
    """The chat page beside the engine.

    `max_tokens`: what it asks an answer to have at most; None: it leaves that to the engine. The others say what it
    asks the model besides the question.
    """

    image: PlannedImage
    port: int
    bind: str
    max_tokens: int | None
    builtin_tools: bool
    titles: bool
    follow_ups: bool
    tags: bool


@dataclass(frozen=True, slots=True)
class PlannedGateway:
    """The gateway in front of the engine: where clients reach it, and what it lets them do.

    `tls`: whether it has a certificate. `queue`: requests that wait for the engine. `answer_seconds`: how long an
    engine may say nothing. `metrics_port`: of HAProxy's own metrics, `exporter_port` of all that the host
    says of itself. `client_certificates`: whether clients need one besides their key.
    """

    bind: str
    port: int
    tls: bool
    queue: int
    answer_seconds: int
    metrics_port: int
    exporter_port: int
    client_certificates: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """How the new release takes over. mode: none, first (nothing serves now), beside, down.

    `port`: spare loopback port for the rehearsal. `down_seconds`: estimate of the interruption.
    """

    mode: str = "none"
    port: int | None = None
    down_seconds: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Install:
    """What the roles will install on the host before the release."""

    docker: bool = False
    nvidia_toolkit: bool = False
    nvidia_driver: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host shall run, why, and what would change. Without a fit only the texts are filled.

    `blockers` stand in the way of applying it now (memory or disk that others take, a port in use) without
    making it another plan. `stability_seconds` is how long the service must stay up to be committed. `steps` are the
    roles to apply, in order; `content` is the digest of what of ours the host gets.
    `recovery`: what comes first where a run was cut: none, finish (these steps), undo (back to the committed release).
    `awaits`: what the controller has to make or fetch before `release` and `fingerprint` can be known; both are None
    until then. `layout`: where on the host it is installed; its document says so where that is not the standard place,
    and of a `gateway` where there is one.
    """

    host: str
    fits: bool
    bind: str
    port: int
    forced: bool
    stability_seconds: float
    profile: str | None = None
    engine: str | None = None
    quantization: str | None = None
    accelerator: str | None = None
    service_manager: str | None = None
    context_length: int | None = None
    parallel: int | None = None
    kv_cache_type: str | None = None
    memory: Memory | None = None
    disk: DiskNeed | None = None
    forecast: Mapping[str, Any] | None = None
    knobs: Mapping[str, Any] | None = None
    model: PlannedModel | None = None
    runtime: Runtime | None = None
    image: PlannedImage | None = None
    webui: WebUi | None = None
    gateway: PlannedGateway | None = None
    content: str | None = None
    steps: tuple[str, ...] = ()
    switch: Switch = Switch()
    install: Install = Install()
    prerequisites: tuple[str, ...] = ()
    image_delivery: str = "push"
    image_mirror: str = ""
    applicable: bool = False
    not_applicable: str | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    rejected: tuple[Mapping[str, Any], ...] = ()
    candidates: tuple[Mapping[str, Any], ...] = ()
    missing: tuple[str, ...] = ()
    nearest_profile: str | None = None
    action: str = "none"
    changes: tuple[Mapping[str, Any], ...] = ()
    release: str | None = None
    fingerprint: str | None = None
    awaits: tuple[str, ...] = ()
    unit: str = UNIT
    recovery: str = "none"
    layout: Layout = STANDARD

    def to_dict(self) -> dict[str, Any]:
        """Return the document `phi4-edge/plan/1`; `from_dict` of it gives an equal plan."""
        plain = {"format": FORMAT, **to_plain(self)}
        if self.layout == STANDARD:
            del plain["layout"]
        if self.gateway is None:
            del plain["gateway"]
        return plain

    @classmethod
    def from_dict(cls, data: object) -> Plan:
        """Return the plan in a document; raises FactsError when it is none."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise FactsError(f"Found no plan document, needed one of format {FORMAT}. Make it with `phi4-edge plan`.")
        values = {"layout": STANDARD.to_dict(), "gateway": None} | {
            name: value for name, value in data.items() if name != "format"
        }
        for name, kind in _NESTED.items():
            found = values.get(name)
            values[name] = None if found is None and name not in _ALWAYS else _record(kind, found, name)
        for field in fields(cls):
            if isinstance(field.default, tuple):
                items = values.get(field.name)
                if not isinstance(items, (list, tuple)):
                    raise FactsError(f"Found no list {field.name} in the plan document. Make it with `phi4-edge plan`.")
                values[field.name] = tuple(items)
        plan: Plan = _record(cls, values, "plan")
        return plan


_NESTED: Mapping[str, type] = {
    "memory": Memory,
    "disk": DiskNeed,
    "model": PlannedModel,
    "runtime": Runtime,
    "image": PlannedImage,
    "webui": WebUi,
    "gateway": PlannedGateway,
    "switch": Switch,
    "install": Install,
    "layout": Layout,
}
# Inside another record, by that record.
_INNER: Mapping[type, Mapping[str, type]] = {WebUi: {"image": PlannedImage}}
_ALWAYS = ("switch", "install", "layout")


def _record(kind: type, data: object, name: str) -> Any:
    wanted = {field.name for field in fields(kind)}
    found = set(data) if isinstance(data, Mapping) else set()
    if not isinstance(data, Mapping) or found != wanted:
        differ = ", ".join(sorted(clean(str(item), 40) for item in found ^ wanted)[:5])
        raise FactsError(
            f"Found a plan document whose {name} differs from this release in: {differ}. Make it with `phi4-edge plan`."
        )
    inner = {field: _record(of, data[field], f"{name}.{field}") for field, of in _INNER.get(kind, {}).items()}
    return kind(**{**data, **inner})
