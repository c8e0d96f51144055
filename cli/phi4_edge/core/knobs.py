"""What is set on the engine of one host: threads, memory limit, queue, and each engine's own settings.

Formulae: design of the memory model; vLLM's pool from its own accounting (weights and about 1.5 GB go first).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core import variants
from phi4_edge.core.choose import Evaluation
from phi4_edge.core.chosen import Chosen
from phi4_edge.core.host import HostFacts
from phi4_edge.core.plan_types import PlannedModel
from phi4_edge.core.sizing import flavour
from phi4_edge.core.table import ResourceTable
from phi4_edge.core.text import canonical

# The forecast of memory may be off by 10 %; the page cache of the model file also counts until it is reclaimed.
HEADROOM = 1.15
# A limit in steps of 64 MiB: a kernel update that reports some pages less must not restart every engine.
LIMIT_STEP = 64 << 20
# CUDA context and activations (vLLM's profiling run), bytes.
VLLM_ACTIVATIONS = 1_500_000_000
# vLLM's own default of --max-num-seqs.
VLLM_MOST_SEQUENCES = 256
BFLOAT16_FROM = (8, 0)
GIB = 1 << 30


def knobs(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    """Return the settings; `memory_max` is bytes and never above what the system's reserve leaves, unless forced."""
    facts, gpu = it.facts, it.attempt.gpu
    found: dict[str, Any] = {
        "threads": it.overrides.threads or facts.cpu.usable_cores,
        "memory_max": memory_max(facts, it.table, it.evaluation, it.forced, it.beside),
        "queue": it.engine.queue,
    }
    if gpu is not None and gpu.uuid:
        found["gpu"] = gpu.uuid
    if it.manager == "compose":
        found |= {"container_port": it.engine.container_port, "shm_size": it.engine.shm_size}
    return found | _OWN[it.engine.name](it, model)


def memory_max(facts: HostFacts, table: ResourceTable, evaluation: Evaluation, forced: bool, beside: int = 0) -> int:
    """Return the limit of the service's RAM in bytes: the forecast with headroom; `beside` is kept for the chat page.

    With a GPU of its own memory the model lives there, and the limit is all that the system can spare.
    """
    ceiling = facts.ram_bytes if forced else max(0, facts.ram_bytes - table.os_reserve - beside)
    if evaluation.pool.kind == "vram":
        return ceiling // LIMIT_STEP * LIMIT_STEP
    need = evaluation.sizing.need
    limit = min(int(need * HEADROOM), ceiling) // LIMIT_STEP * LIMIT_STEP
    # The step down must not cut below the need where the fit is tight.
    return limit if limit >= need or need > ceiling else need


def _onnx(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    # Spinning threads cost 3 CPU seconds in the second after a request, and win nothing.
    return {"allow_spinning": False}


def _ollama(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    overrides, sizing = it.overrides, it.evaluation.sizing
    host = f"[{overrides.bind}]" if ":" in overrides.bind else overrides.bind
    # In a container the port is published; which address it is published on is Compose's to say.
    address = f"0.0.0.0:{it.engine.container_port}" if it.manager == "compose" else f"{host}:{overrides.port}"
    board = flavour(it.facts, it.accelerator).partition("jetpack")[2]
    # In a container Ollama cannot see which release of JetPack the board has, and would go without the GPU.
    inside = {"JETSON_JETPACK": board} if board and it.manager == "compose" else {}
    made = variants.planned(it.catalog.variants, overrides.variants, sizing.context)
    return {
        "environment": {
            "OLLAMA_HOST": address,
            "OLLAMA_CONTEXT_LENGTH": str(sizing.context),
            "OLLAMA_NUM_PARALLEL": str(overrides.parallel),
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_MAX_QUEUE": "32",
            # Needed for a quantized KV cache; harmless otherwise.
            "OLLAMA_FLASH_ATTENTION": "1",
            "OLLAMA_KV_CACHE_TYPE": sizing.kv_type,
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NOPRUNE": "1",
            **inside,
        },
        "variants": made,
        "store": _store(it, model, made),
    }


def _store(it: Chosen, model: PlannedModel, made: Mapping[str, Any]) -> str | None:
    """Return the name of the folder that Ollama's models lie in: another model, variant or template is another one."""
    if model.digest is None:
        return None
    content: dict[str, Any] = {"digest": model.digest, "served_name": model.served_name, "variants": made}
    if made_with := it.inputs.runtimes.get("ollama store"):
        content["made_with"] = made_with
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def _vllm(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    sizing, pool, parallel = it.evaluation.sizing, it.evaluation.pool, it.overrides.parallel
    per_sequence = sizing.kv_cache // parallel
    if it.accelerator == "cpu":
        space = sizing.kv_cache // GIB
        # Its workers pass tensors through shared memory.
        return {"dtype": "bfloat16", "kv_cache_space_gib": space, "max_num_seqs": parallel, "shm_size": 4 * GIB}
    # vLLM takes a share of the total that must be free; hundredths, rounded down (past the float's own error).
    share = int((pool.available / pool.total + 1e-6) * 100)
    room = share * pool.total // 100 - sizing.weights - VLLM_ACTIVATIONS
    sequences = min(VLLM_MOST_SEQUENCES, max(parallel, room // per_sequence))
    capability = it.attempt.gpu.compute_capability if it.attempt.gpu is not None else None
    return {
        # Turing has no bfloat16: vLLM refuses to start with it there.
        "dtype": "bfloat16" if (capability or ()) >= BFLOAT16_FROM else "float16",
        "gpu_memory_utilization": share / 100,
        "max_num_seqs": sequences,
        "enforce_eager": True,
    }


_OWN: Mapping[str, Callable[[Chosen, PlannedModel], dict[str, Any]]] = {
    "onnx": _onnx,
    "ollama": _ollama,
    "vllm": _vllm,
}
