"""The memory model: need = weights + KV(context x parallel) + overhead, against what a host can give.

Everything is bytes. The fit uses totals, never MemAvailable: a host that already serves must get the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi4_edge.core.catalog.model import Build, Candidate, Catalog, CatalogEngine, CatalogImage, ModelStore
from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.text import gb, version_of

# For a context above 4096 tokens every engine takes LongRoPE's long factors from the first token on, which is worse
# for short prompts.
LONGROPE_FROM = 4096
# Bytes that HAProxy takes with the connections of a busy gateway; its limit leaves room for all that it may have.
GATEWAY_MEMORY = 64_000_000
# A system prompt with tools and an answer need 2048; less is never chosen unasked (reference: clamp 2048..4096).
CONTEXTS = (LONGROPE_FROM, 2048)
_HELD_STEP = 64 << 20


def beside(catalog: Catalog, overrides: Overrides) -> int:
    """Return the bytes of RAM that the chat page and the gateway take beside the engine."""
    page = catalog.webui.memory if overrides.webui_enabled else 0
    return page + (GATEWAY_MEMORY if overrides.gateway else 0)


@dataclass(frozen=True, slots=True)
class Pool:
    """Memory that a model may take; kind is ram, vram or unified. A need fits when need + os_reserve <= available."""

    kind: str
    total: int
    os_reserve: int
    held_by_others: int
    available: int

    @property
    def usable(self) -> int:
        """What one need is compared with."""
        return max(0, self.available - self.os_reserve)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What one candidate needs with one context length, one type of KV cache and so many answers at a time."""

    context: int
    kv_type: str
    parallel: int
    weights: int
    kv_cache: int
    overhead: int

    @property
    def need(self) -> int:
        """The sum."""
        return self.weights + self.kv_cache + self.overhead


def ram_pool(facts: HostFacts, table: ResourceTable, held: int = 0) -> Pool:
    """Return the host's memory, of which the operating system keeps its reserve and the chat page what is `held`."""
    return Pool("ram", facts.ram_bytes, table.os_reserve, held, max(0, facts.ram_bytes - held))


def gpu_pool(facts: HostFacts, gpu: Gpu, table: ResourceTable, held_of_ram: int = 0) -> Pool:
    """Return a GPU's memory less what other processes hold; unified memory is the host's, counted once."""
    if gpu.unified:
        ram = ram_pool(facts, table, held_of_ram)
        return Pool("unified", ram.total, ram.os_reserve, held_of_ram, ram.available)
    held = held_by_others(facts, gpu)
    usable = int(gpu.memory_total * table.usable_vram)
    return Pool("vram", gpu.memory_total, 0, held, max(0, usable - held))


def held_by_others(facts: HostFacts, gpu: Gpu) -> int:
    """Return the VRAM that is not ours, rounded up to 64 MiB against flutter.

    While our engine runs on that GPU, what the plan saw before it started counts: the driver's figure
    includes our own share. An engine of ours without a receipt is one that a killed run has left: nobody knows
    what was seen before it, and counting it as somebody else's would plan the next run around it.
    """
    service = facts.service
    if service is not None and service.active == "active" and not service.foreign:
        if not facts.receipt.present:
            return 0
        if facts.receipt.gpu == gpu.uuid != "":
            return facts.receipt.vram_held_by_others
    return -(-gpu.memory_used // _HELD_STEP) * _HELD_STEP


def ranked_gpus(facts: HostFacts, table: ResourceTable) -> tuple[Gpu, ...]:
    """Return the GPUs in the order in which they are tried: those with most plannable memory first.

    A release stays on its GPU unless another has more memory: what others do with the rest must not move it.
    """
    ranked = sorted(facts.nvidia.gpus, key=lambda gpu: -gpu_pool(facts, gpu, table).usable)
    ours = next((gpu for gpu in ranked if gpu.uuid and gpu.uuid == facts.receipt.gpu), None)
    if ours is None or ours.memory_total < ranked[0].memory_total:
        return tuple(ranked)
    return (ours, *(gpu for gpu in ranked if gpu is not ours))


def attempts(catalog: Catalog, candidate: Candidate, overrides: Overrides) -> tuple[Sizing, ...]:
    """Return the sizings to try, best first: KV in its next smaller type before half the context.

    Where nobody says how many answers at a time, each is for one: a longer context is worth more than a second one.
    """
    kv_types = catalog.engines[candidate.engine].builds[candidate.accelerator].kv_types
    contexts = (overrides.context_length,) if overrides.context_length else CONTEXTS
    parallel = overrides.parallel or 1
    return tuple(
        _sizing(catalog, candidate, overrides.model, context, kv_type, parallel)
        for context in contexts
        for kv_type in kv_types
    )


def widened(catalog: Catalog, candidate: Candidate, model: str, sizing: Sizing, most: int, usable: int) -> Sizing:
    """Return `sizing` with as many answers at a time, up to `most`, as fit into `usable` bytes, or itself."""
    wider = (
        _sizing(catalog, candidate, model, sizing.context, sizing.kv_type, parallel)
        for parallel in range(most, sizing.parallel, -1)
    )
    return next((found for found in wider if found.need <= usable), sizing)


def _sizing(catalog: Catalog, candidate: Candidate, model: str, context: int, kv_type: str, parallel: int) -> Sizing:
    engine = catalog.engines[candidate.engine]
    variant, build = engine.variants[candidate.quantization], engine.builds[candidate.accelerator]
    return Sizing(
        context=context,
        kv_type=kv_type,
        parallel=parallel,
        weights=variant.weights,
        kv_cache=_set_aside(catalog.kv_bytes(model, kv_type) * context * parallel, build),
        overhead=variant.overhead[candidate.accelerator],
    )


def _set_aside(tokens: int, build: Build) -> int:
    """Return the bytes of KV cache that the engine takes so that it holds `tokens` bytes."""
    return -(-tokens // build.kv_step) * build.kv_step


def disk_available(facts: HostFacts, *paths: str) -> int:
    """Return the bytes that we may use below `paths`: free, and what our own installation takes.

    Each pool counts once, with as much as any of its filesystems has free: another may have a quota.
    """
    pools = {facts.disk(path).pool: _free(facts, path) for path in sorted(paths, key=lambda path: _free(facts, path))}
    ours = sum(disk.ours for disk in facts.disks if disk.pool in pools)
    image = facts.receipt.image_disk if facts.disk(facts.images.path).pool in pools else 0
    return sum(pools.values()) + ours + image


def _free(facts: HostFacts, path: str) -> int:
    """Return the bytes free on the filesystem of `path`: the least that any of its paths was told."""
    filesystem = facts.disk(path).filesystem
    return min(disk.free for disk in facts.disks if disk.filesystem == filesystem)


def disk_shortfall(facts: HostFacts, needs: Mapping[str, int]) -> str:
    """Return which filesystem or pool lacks room for `needs` (path to bytes), with numbers, or ""."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in (path for path, size in needs.items() if size):
        disk = facts.disk(path)
        for group in (("filesystem", disk.filesystem), ("pool", disk.pool)):
            groups.setdefault(group, []).append(path)
    for paths in groups.values():
        need, available = sum(needs[path] for path in paths), disk_available(facts, *paths)
        if need > available:
            guessed = f"; {images_guessed(facts)}" if facts.images.guessed and facts.images.path in paths else ""
            return f"needs {gb(need)} of disk below {' and '.join(paths)}, {gb(available)} can be used{guessed}"
    return ""


def images_guessed(facts: HostFacts) -> str:
    """Return what to do about facts that do not say where Docker keeps its images."""
    return (
        f"the facts do not say that Docker keeps its images below {facts.images.path}: make them again with "
        "`phi4-edge detect --raw`"
    )


def disk_needs(
    facts: HostFacts,
    weights: int,
    native: int,
    images: Sequence[CatalogImage],
    delivery: str,
    store: ModelStore | None = None,
) -> Mapping[str, int]:
    """Return where the parts of one installation go, at the worst moment.

    While Docker loads an image, it holds it compressed beside unpacked; one that is pushed is staged with us besides.
    It is gone from there before an engine makes a store of its own out of the weights.
    """
    unpacked = sum(image.disk for image in images)
    archives = sum(image.archive for image in images)
    staged = archives if delivery == "push" else 0
    made = store.peak(weights) if store is not None else 0
    layout, place = facts.layout, facts.images.path
    needs = {layout.state: weights + max(staged, made), layout.root: native}
    # Docker may have been put where our own files are.
    return {**needs, place: needs.get(place, 0) + unpacked + archives}


def flavour(facts: HostFacts, accelerator: str, gpu: Gpu | None) -> str:
    """Return which of the published builds a host takes for `gpu`: cpu, cuda, jetpack5 or jetpack6."""
    board = facts.board_of(gpu)
    if accelerator != "cuda" or board is None:
        return accelerator
    # Linux for Tegra R35 is JetPack 5, R36 is JetPack 6; the gate has refused all others.
    return "jetpack5" if version_of(board.l4t)[:1] == (35,) else "jetpack6"


def native_disk(facts: HostFacts, engine: CatalogEngine, manager: str, accelerator: str, gpu: Gpu | None) -> int:
    """Return the bytes of an engine's own files on the host."""
    if manager != "systemd":
        return 0
    published = engine.release.artifacts if engine.release is not None else {}
    artifact = published.get(f"{facts.architecture}-{flavour(facts, accelerator, gpu)}")
    return artifact.disk if artifact is not None else engine.disk
