"""What is set on the engine of one host: threads, memory limit, and the engine's own settings.

Every knob reaches the running engine, on the command line, in its environment, or in what holds it in; a test asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.engines import directives
from phi4_edge.core.engines.spec import Deployment
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.plan.choose import Evaluation
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import PlannedModel
from phi4_edge.core.plan.prompt_cache import HEADROOM, STEP, prompt_cache
from phi4_edge.core.plan.sizing import flavour

# A limit in steps: a kernel update that reports some pages less must not restart every engine.
LIMIT_STEP = STEP


def knobs(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    """Return the settings; `memory_max` is bytes and never above what the system's reserve leaves, unless forced."""
    facts, gpu = it.facts, _gpu(it)
    found: dict[str, Any] = {
        "threads": _threads(it),
        "memory_max": memory_max(facts, it.table, it.evaluation, it.forced, it.beside, prompt_cache(it)),
    }
    if gpu is not None and gpu.uuid:
        found["gpu"] = gpu.uuid
    if it.manager == "systemd" and directives.before(facts.systemd, directives.MOUNT_POINTS_FOR_ALL):
        found["umask"] = "0022"
    if it.manager == "compose":
        found |= {"container_port": it.engine.container_port, "shm_size": it.engine.shm_size}
    if it.overrides.selfheal:
        found["selfheal"] = True
    found |= ENGINES[it.engine.name].knobs(_deployment(it, model))
    if it.evaluation.pool.kind == "unified" and (share := taken_at_once(found, it.evaluation.pool.total)):
        # Its own process takes memory of the same pool beside the share.
        most = it.facts.ram_bytes if it.forced else max(0, it.facts.ram_bytes - it.table.os_reserve - it.beside)
        found["memory_max"] = min(share + it.engine.gpu_ram, most) // LIMIT_STEP * LIMIT_STEP
    return found


def taken_at_once(knobs: Mapping[str, Any], total: int) -> int:
    """Return the bytes of a GPU's `total` that an engine takes as it starts; 0 for one that takes what it needs."""
    return int(float(knobs.get("gpu_memory_utilization", 0)) * total)


def memory_max(
    facts: HostFacts, table: ResourceTable, evaluation: Evaluation, forced: bool, beside: int = 0, prompts: int = 0
) -> int:
    """Return the limit of the service's RAM in bytes: the forecast with headroom, and what it may keep of `prompts`.

    `beside` is kept for the chat page. With a GPU of its own memory the model lives there, and the limit is all that
    the system can spare.
    """
    ceiling = facts.ram_bytes if forced else max(0, facts.ram_bytes - table.os_reserve - beside)
    if evaluation.pool.kind == "vram":
        return ceiling // LIMIT_STEP * LIMIT_STEP
    need = evaluation.sizing.need + prompts
    limit = min(int(evaluation.sizing.need * HEADROOM) + prompts, ceiling) // LIMIT_STEP * LIMIT_STEP
    # The step down must not cut below the need where the fit is tight.
    return limit if limit >= need or need > ceiling else need


def max_tokens(it: Chosen) -> int:
    """Return how many tokens an answer has at most of which the client says nothing: the context, or less."""
    context = it.evaluation.sizing.context
    return min(it.overrides.max_tokens or ENGINES[it.engine.name].answer_tokens or context, context)


def _deployment(it: Chosen, model: PlannedModel) -> Deployment:
    """Return what the engine's own settings follow from."""
    overrides, sizing, pool = it.overrides, it.evaluation.sizing, it.evaluation.pool
    return Deployment(
        manager=it.manager,
        accelerator=it.accelerator,
        flavour=flavour(it.facts, it.accelerator, it.attempt.gpu),
        gpu=_gpu(it),
        bind=overrides.engine_bind,
        port=overrides.port,
        container_port=it.engine.container_port,
        allowed_hosts=overrides.allowed_hosts,
        cors_origins=overrides.cors_origins,
        connections=overrides.connections,
        deadline_seconds=overrides.deadline_seconds,
        metrics=overrides.metrics,
        prefix_cache=overrides.prefix_cache,
        repacked=overrides.layout.repacked if overrides.repacked and it.manager == "systemd" else "",
        threads=_threads(it),
        parallel=sizing.parallel,
        queue=it.engine.queue,
        context=sizing.context,
        max_tokens=max_tokens(it),
        kv_type=sizing.kv_type,
        kv_cache=sizing.kv_cache,
        weights=sizing.weights,
        pool_total=pool.total,
        pool_available=pool.usable,
        unified=pool.kind == "unified",
        prompt_cache=prompt_cache(it),
        served_name=model.served_name,
        model_digest=model.digest,
        variants={**it.catalog.variants, **overrides.variants},
        made_with=it.inputs.runtimes,
    )


def _gpu(it: Chosen) -> Gpu | None:
    """Return the GPU by whose UUID it is handed over. That of a Jetson's chip has none: its device is called `all`."""
    gpu = it.attempt.gpu
    integrated = gpu is not None and gpu.unified and it.facts.jetson is not None
    return replace(gpu, uuid="") if gpu is not None and integrated else gpu


def _threads(it: Chosen) -> int:
    return it.overrides.threads or it.facts.cpu.usable_cores
