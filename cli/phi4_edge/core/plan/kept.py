"""What a release keeps of the plan that it was made from: all that was applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Nothing that differs from one look at the host to the next.
PLAN_KEYS = (
    "format", "host", "profile", "engine", "quantization", "accelerator", "service_manager", "context_length",
    "parallel", "kv_cache_type", "bind", "port", "unit", "knobs", "model", "runtime", "image", "webui", "gateway",
    "content", "steps", "stability_seconds", "release", "fingerprint", "layout",
)  # fmt: skip
# Of the memory model: what the gate and the receipt ask for when this release is gone back to.
MEMORY_KEYS = ("weights", "ram_need", "vram_need", "held_by_others")


def kept(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a plan that lies beside the unit of its release."""
    document = {name: plan[name] for name in PLAN_KEYS if name in plan}
    memory = plan.get("memory") or {}
    return {**document, "memory": {name: memory[name] for name in MEMORY_KEYS if name in memory}}
