"""The catalog: models, engines, candidates, speed. Sizes are bytes; `data/catalog.yml` has every number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.catalog.library import Library
from phi4_edge.core.catalog.published import Published
from phi4_edge.core.catalog.recipe import Recipe
from phi4_edge.core.catalog.speed import Speed
from phi4_edge.core.engines.table import ENGINES

ACCELERATORS = ("cpu", "cuda")
SERVICE_MANAGERS = ("systemd", "compose")
# Elements that one block of a KV type holds (ggml's block of 32; for plain types a mere unit).
KV_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a model, as far as memory depends on it."""

    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def kv_elements(self) -> int:
        """Elements of keys and values for one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Model:
    """One model; `source` is for those who fetch it. A stand-in is planned as the model it stands in for.

    `checkpoints` are further sources by artifact, as its publisher quantized it; `published` is its export to ONNX, and
    `library` what Ollama's own library has of it, if there is one. `held`: artifacts that are here. `context_length`:
    tokens that it has positions for.
    """

    id: str
    served_name: str
    licence: str
    stand_in_for: str
    source: Mapping[str, Any]
    context_length: int
    architecture: Architecture | None
    checkpoints: Mapping[str, Mapping[str, Any]]
    held: frozenset[str] = frozenset()
    library: Library | None = None
    published: Published | None = None

    @property
    def size(self) -> int:
        """Bytes of the source as fetched or generated."""
        return int(self.source["size"])

    def unpinned(self, artifact: str) -> bool:
        """Return whether `artifact` is a checkpoint that is not here, and that nobody knows a revision of to fetch."""
        known = artifact in self.held or self.checkpoints.get(artifact, {}).get("revision")
        return not known and artifact.startswith("safetensors-")


@dataclass(frozen=True, slots=True)
class CatalogImage:
    """One container image; `digests` of its manifests by architecture (amd64, arm64), as far as this release knows.

    `disk`: bytes unpacked, `archive` compressed. `base`: the image that ours is built upon; None for a fetched one.
    """

    repository: str
    tag: str
    digests: Mapping[str, str]
    architecture: str
    cuda: str
    minimum_driver: int
    disk: int
    archive: int
    base: CatalogImage | None = None


@dataclass(frozen=True, slots=True)
class ArchiveArtifact:
    """What is unpacked over each other, what it takes unpacked, and its digest then (empty: not known)."""

    assets: tuple[str, ...]
    disk: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """Archives of an engine's makers: artifacts by "<architecture>-<flavour>", hashes by asset (None: pinned later)."""

    url: str
    checksums: str
    artifacts: Mapping[str, ArchiveArtifact]
    sha256: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A store that an engine makes for itself out of the weights, and keeps instead of them.

    `making`: how often it writes them again meanwhile; `spare`: bytes of what else it writes.
    """

    making: int
    spare: int

    def peak(self, weights: int) -> int:
        """Return its bytes beside the pushed model while it is made."""
        return self.making * weights + self.spare


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of an engine to its first answer, with the weights already in memory."""

    seconds: int
    measured: bool


@dataclass(frozen=True, slots=True)
class DriverRule:
    """GPUs up to compute capability `capability_to` need NVIDIA driver `minimum` or newer."""

    capability_to: tuple[int, ...]
    minimum: int


@dataclass(frozen=True, slots=True)
class Build:
    """An engine for one accelerator, and what it needs.

    `architectures` maps an architecture to the CPU features it needs. `glibc` and `pythons` bind only where
    the engine runs natively. `jetson` lists the L4T major releases that have a build for the integrated GPU.
    The KV cache is set aside in whole multiples of `kv_step` bytes.
    """

    accelerator: str
    kv_types: tuple[str, ...]
    kv_step: int
    architectures: Mapping[str, tuple[str, ...]]
    glibc: str
    pythons: tuple[str, ...]
    compute_capability: tuple[int, ...]
    drivers: tuple[DriverRule, ...]
    jetson: tuple[int, ...]
    images: tuple[CatalogImage, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One quantization of an engine: weights, and overhead per accelerator that it exists for.

    `bits` that most weights have: the class of quality. `not_applicable`: why this release cannot deliver it, else "".
    `recipe`: how it is converted, if that can differ. `context`: tokens up to which it is right, 0 for any; `long`: the
    artifact that takes its place above, "" where there is none.
    """

    quantization: str
    artifact: str
    bits: int
    weights: int
    overhead: Mapping[str, int]
    measured: bool
    compute_capability: tuple[int, ...]
    not_applicable: str
    recipe: Recipe | None
    context: int = 0
    long: str = ""

    def artifact_for(self, context: int) -> str:
        """Return what serves a context of so many tokens."""
        return self.long if self.long and context > self.context else self.artifact


@dataclass(frozen=True, slots=True)
class CatalogEngine:
    """One serving engine. `gpu_ram`: bytes of RAM that it takes beside a model that lies in VRAM.

    `queue`: requests that may wait; 0 for an engine without such a bound.
    `prompt_cache`: how many times its KV cache it may keep finished prompts in RAM; 0 for one that keeps none there.
    `store`: None where the engine reads the model as it was pushed. `bounds`: what one of ours takes.
    """

    name: str
    version: str
    service_managers: tuple[str, ...]
    on_request: tuple[str, ...]
    applicable: tuple[str, ...]
    queue: int
    disk: int
    container_port: int
    shm_size: int
    gpu_ram: int
    prompt_cache: int
    store: ModelStore | None
    start: Mapping[str, Start]
    release: Archive | None
    builds: Mapping[str, Build]
    variants: Mapping[str, Variant]
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination that a profile may choose; `minimum_ram` in GB as in the resource table, 0 for none."""

    engine: str
    quantization: str
    accelerator: str
    minimum_ram: float = 0.0

    @property
    def label(self) -> str:
        """As people name it."""
        place = " CPU" if self.accelerator == "cpu" and ENGINES[self.engine].gpu_first else ""
        return f"{self.engine} {self.quantization}{place}"


@dataclass(frozen=True, slots=True)
class WebUiImage:
    """The chat page: its image, and the bytes of RAM that it takes."""

    image: CatalogImage
    memory: int


@dataclass(frozen=True, slots=True)
class Floor:
    """The oldest version of a component that is accepted, and what an older one is open to.

    `branches`: the oldest of a newer branch that was open to the same, by the branch's own numbers.
    """

    minimum: tuple[int, ...]
    why: str
    branches: Mapping[tuple[int, ...], tuple[int, ...]]

    def for_version(self, version: tuple[int, ...]) -> tuple[int, ...]:
        """Return the oldest version that is accepted on the branch of `version`."""
        return next(
            (minimum for branch, minimum in self.branches.items() if version[: len(branch)] == branch), self.minimum
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that can be delivered and what it costs."""

    models: Mapping[str, Model]
    kv_types: Mapping[str, int]
    engines: Mapping[str, CatalogEngine]
    candidates: Mapping[str, tuple[Candidate, ...]]
    speed: Speed
    variants: Mapping[str, Mapping[str, Any]]
    webui: WebUiImage
    floors: Mapping[str, Floor]

    def shape(self, model_id: str) -> Architecture:
        """Return the shape that `model_id` is planned with: a stand-in is planned as what it stands in for."""
        model = self.models[model_id]
        architecture = model.architecture or self.models[model.stand_in_for].architecture
        assert architecture is not None, "the reader has checked this"  # noqa: S101
        return architecture

    def kv_bytes(self, model_id: str, kv_type: str) -> int:
        """Return the bytes of KV cache that one token takes."""
        return self.shape(model_id).kv_elements * self.kv_types[kv_type] // KV_BLOCK

    def all_candidates(self, accelerator: str) -> tuple[Candidate, ...]:
        """Return every combination that exists for `accelerator`, listed for a profile or not."""
        return tuple(
            Candidate(engine.name, variant.quantization, accelerator)
            for engine in self.engines.values()
            if accelerator in engine.builds
            for variant in engine.variants.values()
            if accelerator in variant.overhead
        )
