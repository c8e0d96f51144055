"""How many finished prompts an engine may keep in RAM: a term of the memory model where there is room for it.

llama-server keeps up to 8 GiB of them unless it is told otherwise, whatever the host has.
"""

from __future__ import annotations

from phi4_edge.core.plan.context import Chosen

# The forecast of memory may be off by 10 %; the page cache of the model file also counts until it is reclaimed.
HEADROOM = 1.15
# A kernel update that reports some pages less must not restart every engine; also the unit of LIMIT_STEP.
STEP = 64 << 20


def prompt_cache(it: Chosen) -> int:
    """Return the bytes for prompts on this host: what its budget leaves beside the engine, at most what helps.

    The headroom of the engine comes first, and what the system keeps is never touched, forced or not. 0: none.
    """
    sizing = it.evaluation.sizing
    # In the memory of a GPU lies the KV cache; what is kept of it lies in the host's.
    need = it.engine.gpu_ram if it.evaluation.pool.kind == "vram" else sizing.need
    left = it.facts.ram_bytes - it.table.os_reserve - it.beside - int(need * HEADROOM)
    return max(0, min(left, it.engine.prompt_cache * sizing.kv_cache)) // STEP * STEP
