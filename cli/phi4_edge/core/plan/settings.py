"""What is set on the engine of one host: threads, memory limit, and each engine's own settings.

Formulae: design of the memory model; vLLM's pool from its own accounting (weights and about 1.5 GB go first).
Every knob reaches the running engine, on the command line, in its environment, or in what holds it in; a test asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.engines import modelfile, ollama_store
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.plan.choose import Evaluation
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import PlannedModel
from phi4_edge.core.plan.prompt_cache import HEADROOM, STEP, prompt_cache
from phi4_edge.core.plan.sizing import flavour
from phi4_edge.core.text import canonical

# A limit in steps: a kernel update that reports some pages less must not restart every engine.
LIMIT_STEP = STEP
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
        "memory_max": memory_max(facts, it.table, it.evaluation, it.forced, it.beside, prompt_cache(it)),
    }
    if gpu is not None and gpu.uuid:
        found["gpu"] = gpu.uuid
    if it.manager == "compose":
        found |= {"container_port": it.engine.container_port, "shm_size": it.engine.shm_size}
    return found | _OWN[it.engine.name](it, model)


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


def _onnx(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    allowed = it.overrides.allowed_hosts
    own = {"allowed_hosts": list(allowed)} if allowed else {}
    return {"queue": it.engine.queue, "max_tokens": max_tokens(it), **own}


def max_tokens(it: Chosen) -> int:
    """Return how many tokens an answer has at most of which the client says nothing: the context, or less."""
    context = it.evaluation.sizing.context
    return min(it.overrides.max_tokens or context, context)


def _ollama(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    overrides, sizing = it.overrides, it.evaluation.sizing
    host = f"[{overrides.bind}]" if ":" in overrides.bind else overrides.bind
    # In a container the port is published; which address it is published on is Compose's to say.
    address = f"0.0.0.0:{it.engine.container_port}" if it.manager == "compose" else f"{host}:{overrides.port}"
    board = flavour(it.facts, it.accelerator).partition("jetpack")[2]
    # In a container Ollama cannot see which release of JetPack the board has, and would go without the GPU.
    inside = {"JETSON_JETPACK": board} if board and it.manager == "compose" else {}
    gpu = it.attempt.gpu
    # A container sees its own GPU alone; a unit sees all of them, and Ollama would choose for itself.
    chosen = {"CUDA_VISIBLE_DEVICES": gpu.uuid} if gpu and gpu.uuid and it.manager == "systemd" else {}
    most = max_tokens(it)
    made = modelfile.planned(it.catalog.variants, overrides.variants, sizing.context)
    return {
        "environment": {
            "OLLAMA_HOST": address,
            "OLLAMA_CONTEXT_LENGTH": str(sizing.context),
            "OLLAMA_NUM_PARALLEL": str(overrides.parallel),
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_MAX_QUEUE": str(it.engine.queue),
            # Needed for a quantized KV cache; harmless otherwise.
            "OLLAMA_FLASH_ATTENTION": "1",
            "OLLAMA_KV_CACHE_TYPE": sizing.kv_type,
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NOPRUNE": "1",
            # These two are read by the llama-server that Ollama starts; without them it finds its threads itself, and
            # keeps 8 GiB of finished prompts.
            "LLAMA_ARG_THREADS": str(it.overrides.threads or it.facts.cpu.usable_cores),
            "LLAMA_ARG_CACHE_RAM": str(prompt_cache(it) >> 20),
            **inside,
            **chosen,
        },
        "queue": it.engine.queue,
        "max_tokens": most,
        "variants": made,
        "store": _store(it, model, made, most),
    }


def _store(it: Chosen, model: PlannedModel, made: Mapping[str, Any], most: int) -> str | None:
    """Return the name of the folder that Ollama's models lie in.

    Another model, variant, template, stop word or length of answers is another folder: Ollama writes all of them
    there.
    """
    if model.digest is None:
        return None
    content: dict[str, Any] = {
        "digest": model.digest, "served_name": model.served_name, "variants": made, "max_tokens": most,
        "stop": list(ollama_store.STOP),
    }  # fmt: skip
    if made_with := it.inputs.runtimes.get("ollama store"):
        content["made_with"] = made_with
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def _vllm(it: Chosen, model: PlannedModel) -> dict[str, Any]:
    sizing, pool, parallel = it.evaluation.sizing, it.evaluation.pool, it.overrides.parallel
    per_sequence = sizing.kv_cache // parallel
    most = max_tokens(it)
    # The context ends an answer anyway.
    bound = {"max_tokens": most} if most < sizing.context else {}
    if it.accelerator == "cpu":
        space = sizing.kv_cache // GIB
        # Its workers pass tensors through shared memory.
        own = {"dtype": "bfloat16", "kv_cache_space_gib": space, "max_num_seqs": parallel, "shm_size": 4 * GIB}
        return own | bound
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
        **bound,
    }


_OWN: Mapping[str, Callable[[Chosen, PlannedModel], dict[str, Any]]] = {
    "onnx": _onnx,
    "ollama": _ollama,
    "vllm": _vllm,
}
