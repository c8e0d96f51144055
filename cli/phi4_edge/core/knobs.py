"""What is set on the engine of one host: threads, memory limit, queue, and each engine's own settings.

Formulae: design of the memory model; vLLM's pool from its own accounting (weights and about 1.5 GB go first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.catalog import Engine
from phi4_edge.core.choose import Evaluation
from phi4_edge.core.host import Gpu, HostFacts
from phi4_edge.core.overrides import Overrides
from phi4_edge.core.table import ResourceTable

# The forecast of memory may be off by 10 %; the page cache of the model file also counts until it is reclaimed.
HEADROOM = 1.15
# A limit in steps of 64 MiB: a kernel update that reports some pages less must not restart every engine.
LIMIT_STEP = 64 << 20
# CUDA context and activations (vLLM's profiling run), bytes.
VLLM_ACTIVATIONS = 1_500_000_000
# vLLM's own default of --max-num-seqs.
VLLM_MOST_SEQUENCES = 256


def knobs(
    facts: HostFacts,
    table: ResourceTable,
    engine: Engine,
    evaluation: Evaluation,
    overrides: Overrides,
    gpu: Gpu | None,
    forced: bool,
) -> dict[str, Any]:
    """Return the settings; `memory_max` is bytes and never above what the system's reserve leaves, unless forced."""
    common: dict[str, Any] = {
        "threads": overrides.threads or facts.cpu.usable_cores,
        "memory_max": memory_max(facts, table, evaluation, forced),
        "queue": engine.queue,
    }
    if gpu is not None and gpu.uuid:
        common["gpu"] = gpu.uuid
    return common | _OWN[engine.name](evaluation, overrides)


def memory_max(facts: HostFacts, table: ResourceTable, evaluation: Evaluation, forced: bool) -> int:
    """Return the limit of the service's RAM in bytes: the forecast with headroom.

    With a GPU of its own memory the model lives there, and the limit is all that the system can spare.
    """
    ceiling = facts.ram_bytes if forced else max(0, facts.ram_bytes - table.os_reserve)
    if evaluation.pool.kind == "vram":
        return ceiling // LIMIT_STEP * LIMIT_STEP
    need = evaluation.sizing.need
    limit = min(int(need * HEADROOM), ceiling) // LIMIT_STEP * LIMIT_STEP
    # The step down must not cut below the need where the fit is tight.
    return limit if limit >= need or need > ceiling else need


def _onnx(evaluation: Evaluation, overrides: Overrides) -> dict[str, Any]:
    # Spinning threads cost 3 CPU seconds in the second after a request, and win nothing.
    return {"allow_spinning": False}


def _ollama(evaluation: Evaluation, overrides: Overrides) -> dict[str, Any]:
    host = f"[{overrides.bind}]" if ":" in overrides.bind else overrides.bind
    return {
        "environment": {
            "OLLAMA_HOST": f"{host}:{overrides.port}",
            "OLLAMA_CONTEXT_LENGTH": str(evaluation.sizing.context),
            "OLLAMA_NUM_PARALLEL": str(overrides.parallel),
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_MAX_QUEUE": "32",
            # Needed for a quantized KV cache; harmless otherwise.
            "OLLAMA_FLASH_ATTENTION": "1",
            "OLLAMA_KV_CACHE_TYPE": evaluation.sizing.kv_type,
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NOPRUNE": "1",
        }
    }


def _vllm(evaluation: Evaluation, overrides: Overrides) -> dict[str, Any]:
    sizing, pool = evaluation.sizing, evaluation.pool
    per_sequence = sizing.kv_cache // overrides.parallel
    if evaluation.candidate.accelerator == "cpu":
        space = max(1, -(-sizing.kv_cache // (1 << 30)))
        return {"kv_cache_space_gib": space, "max_num_seqs": overrides.parallel, "shm_size": 4 << 30}
    # vLLM takes a share of the total that must be free; hundredths, rounded down (past the float's own error).
    share = int((pool.available / pool.total + 1e-6) * 100)
    room = share * pool.total // 100 - sizing.weights - VLLM_ACTIVATIONS
    sequences = min(VLLM_MOST_SEQUENCES, max(overrides.parallel, room // per_sequence))
    return {"gpu_memory_utilization": share / 100, "max_num_seqs": sequences, "enforce_eager": True}


_OWN: Mapping[str, Callable[[Evaluation, Overrides], dict[str, Any]]] = {
    "onnx": _onnx,
    "ollama": _ollama,
    "vllm": _vllm,
}
