"""The choice: profiles in order, in each its candidates in order; the first that passes every gate wins.

Whatever was passed over leaves a reason with numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.catalog.model import Candidate, Catalog, CatalogEngine, Variant
from phi4_edge.core.catalog.table import GB, Profile, ResourceTable
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.judge import driver
from phi4_edge.core.judge import gpu as gpu_conditions
from phi4_edge.core.plan import gates
from phi4_edge.core.plan.forecast import Forecast, forecast
from phi4_edge.core.plan.gates import Verdict
from phi4_edge.core.plan.overrides import MEMORY, SPEED, Overrides
from phi4_edge.core.plan.sizing import (
    Pool,
    Sizing,
    attempts,
    beside,
    disk_available,
    disk_needs,
    disk_shortfall,
    gpu_pool,
    native_disk,
    ram_pool,
    ranked_gpus,
    widened,
)
from phi4_edge.core.text import gb, gib
from phi4_edge.core.values import AUTO


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One candidate on one host. `lacks` are sizes that are too small, which `phi4_force` may overrule."""

    candidate: Candidate
    variant: Variant
    verdict: Verdict
    sizing: Sizing
    full: Sizing
    pool: Pool
    disk_need: int
    lacks: tuple[str, ...]
    forecast: Forecast

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it cannot be chosen; () when it can."""
        return (*self.verdict.reasons, *self.lacks)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One profile on one host, with one of its GPUs where it wants one.

    `blocked`: why no force makes it possible. `lacks`: what the table's row asks for and the host has not.
    `distance`: the sum of the missing shares, 0 when the row holds.
    """

    profile: Profile
    gpu: Gpu | None
    blocked: str
    lacks: tuple[str, ...]
    distance: float
    evaluations: tuple[Evaluation, ...]

    @property
    def winner(self) -> Evaluation | None:
        """The first candidate that passes everything."""
        if self.blocked or self.lacks:
            return None
        return next((item for item in self.evaluations if not item.reasons), None)

    @property
    def forced(self) -> Evaluation | None:
        """The first candidate that would at least start."""
        if self.blocked:
            return None
        return next((item for item in self.evaluations if not item.verdict.reasons), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was looked at in order, and what came out. `overruled` are reasons that `phi4_force` set aside."""

    attempts: tuple[Attempt, ...]
    attempt: Attempt | None
    evaluation: Evaluation | None
    overruled: tuple[str, ...]


def choose(facts: HostFacts, table: ResourceTable, catalog: Catalog, overrides: Overrides) -> Choice:
    """Return the choice for one host; `evaluation` is None when nothing fits."""
    names = table.auto_order if overrides.profile == AUTO else (overrides.profile,)
    tried: list[Attempt] = []
    for profile in (table.profiles[name] for name in names):
        gpus = ranked_gpus(facts, table) if profile.accelerator == "cuda" else ()
        for gpu in gpus or (None,):
            attempt = _attempt(facts, table, catalog, overrides, profile, gpu)
            tried.append(attempt)
            if attempt.winner is not None:
                return Choice(tuple(tried), attempt, attempt.winner, ())
    if overrides.force and overrides.asks:
        for attempt in sorted(tried, key=lambda item: item.distance):
            if (evaluation := attempt.forced) is not None:
                return Choice(tuple(tried), attempt, evaluation, (*attempt.lacks, *evaluation.lacks))
    return Choice(tuple(tried), None, None, ())


def nearest(choice: Choice) -> Attempt:
    """Return the profile that lacks least: not a blocked one, unless all are."""
    return min(choice.attempts, key=lambda attempt: (bool(attempt.blocked), attempt.distance))


def _attempt(
    facts: HostFacts, table: ResourceTable, catalog: Catalog, overrides: Overrides, profile: Profile, gpu: Gpu | None
) -> Attempt:
    listed = _candidates(catalog, profile, overrides)
    blocked = ""
    if profile.accelerator == "cuda" and gpu is None:
        hindrance, installs = driver.hindrance(facts, catalog, overrides), driver.wanted(facts, catalog, overrides)
        blocked = gpu_conditions.reason(facts, hindrance, installs)
    elif not listed:
        blocked = f"nothing in the catalog is {' '.join(overrides.asks)} for {profile.accelerator}"
    evaluated = () if blocked else tuple(_evaluate(facts, table, catalog, overrides, item, gpu) for item in listed)
    evaluations = _preferred(evaluated, overrides.prefer)
    lacks, distance = _row(facts, table, profile, gpu)
    return Attempt(profile, gpu, blocked, lacks, distance, evaluations)


def _preferred(listed: tuple[Evaluation, ...], prefer: str) -> tuple[Evaluation, ...]:
    """Return the candidates in the order in which they are tried; equal ones stay as they are listed.

    Speed counts within a class of quality, and the classes stay as they are listed: half the bits are always faster.
    """
    if prefer == MEMORY:
        return tuple(sorted(listed, key=lambda item: item.sizing.need))
    if prefer != SPEED:
        return listed
    classes = list(dict.fromkeys(item.variant.bits for item in listed))

    def rank(item: Evaluation) -> tuple[int, float]:
        return classes.index(item.variant.bits), -(item.forecast.decode_tokens_per_second or 0.0)

    return tuple(sorted(listed, key=rank))


def _candidates(catalog: Catalog, profile: Profile, overrides: Overrides) -> tuple[Candidate, ...]:
    """Return the profile's candidates that the operator allows.

    What is asked for by name and not listed for the profile is taken from the whole catalog.
    """

    def allowed(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        return tuple(
            item
            for item in candidates
            if overrides.engine in (AUTO, item.engine) and overrides.quantization in (AUTO, item.quantization)
        )

    return allowed(catalog.candidates.get(profile.name, ())) or allowed(catalog.all_candidates(profile.accelerator))


def _evaluate(
    facts: HostFacts,
    table: ResourceTable,
    catalog: Catalog,
    overrides: Overrides,
    candidate: Candidate,
    gpu: Gpu | None,
) -> Evaluation:
    engine = catalog.engines[candidate.engine]
    variant = engine.variants[candidate.quantization]
    verdict = gates.verdict(facts, catalog, candidate, overrides, gpu)
    held = beside(catalog, overrides)
    pool = gpu_pool(facts, gpu, table, held) if gpu is not None else ram_pool(facts, table, held)
    tried = attempts(catalog, candidate, overrides)
    fitting = _fitting(catalog, candidate, overrides, tried, pool.usable)
    native = native_disk(facts, engine, verdict.service_manager, candidate.accelerator, gpu)
    images = [image for image in (verdict.image, catalog.webui.image if overrides.webui_enabled else None) if image]
    needs = disk_needs(facts, variant.weights, native, images, overrides.image_delivery, engine.store)
    lacks = [
        *([] if fitting else [_too_large(tried, pool, gpu, facts.ram_by)]),
        *_too_little_beside(facts, table, engine, pool, held),
    ]
    if candidate.minimum_ram and not table.has(facts.ram_bytes, candidate.minimum_ram):
        lacks.append(f"RAM {gib(facts.ram_bytes)}{_by(facts.ram_by)}, needs {candidate.minimum_ram:g} GB")
    if shortfall := disk_shortfall(facts, needs):
        lacks.append(shortfall)
    if overrides.threads and overrides.threads > facts.cpu.processors:
        most = f"{facts.cpu.processors}{_by(facts.cpu.cpuset_by)}"
        lacks.append(f"phi4_threads {overrides.threads}, the host lets us use {most}")
    return Evaluation(
        candidate=candidate,
        variant=variant,
        verdict=verdict,
        sizing=fitting or tried[-1],
        full=tried[0],
        pool=pool,
        disk_need=sum(needs.values()),
        lacks=tuple(lacks),
        forecast=forecast(facts, catalog, candidate, gpu, overrides),
    )


def _fitting(
    catalog: Catalog, candidate: Candidate, overrides: Overrides, tried: tuple[Sizing, ...], usable: int
) -> Sizing | None:
    """Return the first sizing that fits into `usable` bytes, for as many answers at a time as fit where nobody said."""
    found = next((sizing for sizing in tried if sizing.need <= usable), None)
    if found is None or overrides.parallel is not None or overrides.prefer == MEMORY:
        return found
    return widened(catalog, candidate, overrides.model, found, ENGINES[candidate.engine].streams, usable)


def _too_little_beside(
    facts: HostFacts, table: ResourceTable, engine: CatalogEngine, pool: Pool, held: int
) -> list[str]:
    """Return why the host's own memory does not do for an engine whose model lies in a GPU's."""
    if pool.kind != "vram" or engine.gpu_ram + table.os_reserve + held <= facts.ram_bytes:
        return []
    page = f" and {gb(held)} for the chat page" if held else ""
    return [
        f"needs {gb(engine.gpu_ram)} RAM beside the GPU; host has {gb(facts.ram_bytes)}{_by(facts.ram_by)}, "
        f"{gb(table.os_reserve)} kept for the system{page}"
    ]


def _by(limit: str) -> str:
    """Return the setting of a control group that is behind a number, in brackets."""
    return f" ({limit})" if limit else ""


def _too_large(tried: tuple[Sizing, ...], pool: Pool, gpu: Gpu | None, ram_by: str) -> str:
    first, last = tried[0], tried[-1]
    smaller = f", {gb(last.need)} with context {last.context} and KV {last.kv_type}" if last != first else ""
    what = {"ram": "RAM", "vram": "VRAM", "unified": "unified memory"}[pool.kind]
    owner = gpu.name if gpu is not None else "host"
    whose = "held by others" if pool.kind == "vram" else "for the chat page"
    held = f", {gb(pool.held_by_others)} {whose}" if pool.held_by_others else ""
    kept = f", {gb(pool.os_reserve)} kept for the system" if pool.os_reserve else ""
    return (
        f"needs {gb(first.need)} {what} with context {first.context}{smaller}; "
        f"{owner} has {gb(pool.total)}{_by('' if pool.kind == 'vram' else ram_by)}{held}{kept}: "
        f"{gb(pool.usable)} usable"
    )


def _row(facts: HostFacts, table: ResourceTable, profile: Profile, gpu: Gpu | None) -> tuple[tuple[str, ...], float]:
    """Return what the table's row asks for and the host has not, and by how much in all."""
    disk, wanted = disk_available(facts, facts.layout.state, facts.layout.root), int(profile.disk * GB)
    lacks: list[tuple[str, float]] = []
    if not table.has(facts.ram_bytes, profile.minimum_ram):
        text = f"RAM {gib(facts.ram_bytes)}{_by(facts.ram_by)}, needs {profile.minimum_ram:g} GB"
        share = 1 - facts.ram_bytes / table.counts_from(profile.minimum_ram)
        lacks.append((f"{text} ({_counted(table, profile.minimum_ram)})", share))
    if gpu is not None and not table.has(gpu.memory_total, profile.minimum_vram):
        text = f"{gpu.name} has {gib(gpu.memory_total)} of memory, needs {profile.minimum_vram:g} GB"
        share = 1 - gpu.memory_total / table.counts_from(profile.minimum_vram)
        lacks.append((f"{text} ({_counted(table, profile.minimum_vram)})", share))
    if disk < wanted:
        text = f"disk: {gb(disk)} can be used below {facts.layout.state} and {facts.layout.root}, needs {gb(wanted)}"
        lacks.append((text, 1 - disk / wanted))
    return tuple(text for text, _ in lacks), sum(share for _, share in lacks)


def _counted(table: ResourceTable, nominal: float) -> str:
    return f"{gib(table.counts_from(nominal))} counts as that"


def rejections(choice: Choice) -> list[dict[str, str | None]]:
    """Return what was passed over before the winner, in order, each with its reason.

    Of a profile that the host does not reach, its candidates are not listed one by one.
    """
    found: list[dict[str, str | None]] = []
    several = sum(attempt.gpu is not None for attempt in choice.attempts) > 1
    for attempt in choice.attempts:
        base: dict[str, str | None] = {"profile": attempt.profile.name, "engine": None, "quantization": None}
        whole = (attempt.blocked,) if attempt.blocked else attempt.lacks
        owner = f"{attempt.gpu.name}: " if attempt.gpu is not None and several else ""
        if attempt is not choice.attempt:
            found += [base | {"reason": f"{owner}{reason}"} for reason in whole]
        for item in attempt.evaluations if attempt is choice.attempt or not whole else ():
            if item is choice.evaluation:
                return found
            label = {"engine": item.candidate.engine, "quantization": item.candidate.quantization}
            found.append(base | label | {"reason": owner + "; ".join(item.reasons)})
    return found
