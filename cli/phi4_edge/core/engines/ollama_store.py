"""What Ollama is asked to make of a model: the model itself and its variants, in an order that works."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from phi4_edge.errors import PreflightError

# Phi-4-mini ends a turn with the first, and a text with the second. The store's name counts them.
STOP = ("<|end|>", "<|endoftext|>")


def request(args: Mapping[str, Any], template: str) -> dict[str, Any]:
    """What the host's script is told: where things lie, how the server runs, and what it is asked to make."""
    plan, library = args["plan"], dict(args.get("library") or {})
    knobs = plan["knobs"]
    parameters: dict[str, Any] = {} if library else {"stop": list(STOP)}
    # Without it an answer goes on for ten contexts, in the only slot.
    parameters["num_predict"] = int(knobs.get("max_tokens") or plan["context_length"])
    served = plan["model"]["served_name"]
    made = requests(served, knobs.get("variants") or {}, template, parameters, library)
    told = {
        **{name: args["paths"][name] for name in ("engine", "model", "store", "staging")},
        "image": args.get("image") or "",
        "library": library,
        "environment": {name: str(value) for name, value in knobs["environment"].items()},
        "memory_max": knobs["memory_max"],
        "requests": made,
    }
    canonical = json.dumps([plan["model"]["digest"], library, made], sort_keys=True)
    return {**told, "made": hashlib.sha256(canonical.encode()).hexdigest()}


def requests(
    served: str,
    variants: Mapping[str, Any],
    template: str,
    parameters: Mapping[str, Any],
    library: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Bodies of /api/create in the order in which they can be made: the model, then each variant behind its base.

    `parameters` are the model's own, which variants take over. A model of the library keeps the template that it comes
    with. Raises PreflightError for a circle.
    """
    made_of = {"from": library["name"]} if library else {"template": template}
    base: dict[str, Any] = {"model": served, **made_of, "parameters": dict(parameters)}
    bodies, left = [base], dict(variants)
    while left:
        done = {body["model"] for body in bodies}
        ready = sorted(name for name, variant in left.items() if variant["from"] in done)
        if not ready:
            raise PreflightError(f"found variants without a base that can be made: {', '.join(sorted(left))}")
        for name in ready:
            variant = left.pop(name)
            body = {"model": name, "from": variant["from"], "parameters": dict(variant.get("parameters") or {})}
            bodies.append({**body, **({"system": variant["system"]} if variant.get("system") else {})})
    return bodies
