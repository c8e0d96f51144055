"""Ollama: under systemd from its release's archives, or in its image; it serves from a store of its own making."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import modelfile, ollama_store
from phi4_edge.core.engines.spec import Contained, Deployment, Engine, Native, Plan, Serving, Variable
from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.text import canonical

NAME = "ollama"
# What keeps a model loaded, and what is taken out of its journal.
LOADER, JOURNAL = "load.py", "journal.sed"
# Bytes: more than the template has besides messages, as where tools come without a text for the system.
_TEMPLATE = 128
# Times: nothing in a request gets longer than a sign of a tool's JSON that HTML knows, as < does, which Go writes as
# \u003c. What is no UTF-8 becomes three bytes.
_GROWS = 6


def store_directory(plan: Plan) -> str:
    """Return where the store for this plan lies, on the host and in the container."""
    return f"{layout.of(plan).stores}/{plan['knobs'].get('store') or 'unknown'}"


def _knobs(it: Deployment) -> dict[str, Any]:
    made = modelfile.planned(it.variants, it.context)
    own = {"queue": it.queue, "max_tokens": it.max_tokens, "variants": made, "store": _store(it, made)}
    return {"environment": _planned_environment(it), **own}


def _planned_environment(it: Deployment) -> dict[str, str]:
    host = f"[{it.bind}]" if ":" in it.bind else it.bind
    # In a container the port is published; which address it is published on is Compose's to say.
    address = f"0.0.0.0:{it.container_port}" if it.manager == "compose" else f"{host}:{it.port}"
    board = it.flavour.partition("jetpack")[2]
    # In a container Ollama cannot see which release of JetPack the board has, and would go without the GPU.
    inside = {"JETSON_JETPACK": board} if board and it.manager == "compose" else {}
    # A container sees its own GPU alone; a unit sees all of them, and Ollama would choose for itself.
    chosen = {"CUDA_VISIBLE_DEVICES": it.gpu.uuid} if it.gpu and it.gpu.uuid and it.manager == "systemd" else {}
    return {
        "OLLAMA_HOST": address,
        "OLLAMA_CONTEXT_LENGTH": str(it.context),
        "OLLAMA_NUM_PARALLEL": str(it.parallel),
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_MAX_QUEUE": str(it.queue),
        # Needed for a quantized KV cache; harmless otherwise.
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KV_CACHE_TYPE": it.kv_type,
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_NOPRUNE": "1",
        # These two are read by the llama-server that Ollama starts; without them it finds its threads itself, and
        # keeps 8 GiB of finished prompts.
        "LLAMA_ARG_THREADS": str(it.threads),
        "LLAMA_ARG_CACHE_RAM": str(it.prompt_cache >> 20),
        **inside,
        **chosen,
    }


def _store(it: Deployment, made: Mapping[str, Any]) -> str | None:
    """Return the name of the folder that Ollama's models lie in.

    Another model, variant, template, stop word or length of answers is another folder: Ollama writes all of them
    there.
    """
    if it.model_digest is None:
        return None
    content: dict[str, Any] = {
        "digest": it.model_digest, "served_name": it.served_name, "variants": made, "max_tokens": it.max_tokens,
        "stop": list(ollama_store.STOP),
    }  # fmt: skip
    if made_with := it.made_with.get("ollama store"):
        content["made_with"] = made_with
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]


def _cuts_beyond(plan: Plan) -> int:
    """Return the bytes of a request up to which Ollama cuts nothing of the prompt, whichever model it asks for.

    A token is a byte at least; what a variant is told comes before, and the template adds less than `_TEMPLATE`.
    """
    variants = [variant for variant in plan["knobs"]["variants"].values() if variant]
    told = max((len(variant["system"].encode()) for variant in variants), default=0)
    asked = [variant["parameters"].get("num_ctx") for variant in variants]
    context = min([plan["context_length"], *filter(None, asked)])
    return int(max((context - 1 - told - _TEMPLATE) // _GROWS, 0))


def _settings(plan: Plan, store: str) -> dict[str, str]:
    """Return its settings, natively and in a container."""
    # The template that the store was made with is Go's; without this Ollama would use one of its own.
    return {**plan["knobs"]["environment"], "OLLAMA_MODELS": store, "OLLAMA_GO_TEMPLATE": "1"}


def _video(plan: Plan) -> tuple[str, ...]:
    """The devices of a Jetson are open to this group alone."""
    return ("video",) if "jetpack" in str((plan["runtime"] or {}).get("artifact") or "") else ()


ENGINE = Engine(
    name=NAME,
    doing="making the model's store",
    knobs=_knobs,
    serving=Serving("/api/version", 600, holds="version", loaded="/api/ps", cuts_beyond=_cuts_beyond),
    native=Native(
        type="exec",
        # Its main process stays the unit's. What llama-server says is taken out on the way, on every release of
        # systemd: LogFilterPatterns= came with 253, and a tighter rate would lose warnings.
        start=lambda release: (
            "/bin/bash", "-c", 'exec "$0" serve > >(exec sed -u -E -f "$1") 2>&1',
            f"{release}/engine/bin/ollama", f"{release}/{JOURNAL}",
        ),
        settings=lambda plan, release: _settings(plan, f"{release}/store"),
        rehearsal=lambda port: {"OLLAMA_HOST": f"{LOOPBACK}:{port}"},
        # Where the model came from Ollama's library there need not be any models: "-" ignores a missing path.
        reads=lambda there: (there.root, f"-{there.models}", there.stores),
        variables=(Variable("HOME", "/tmp", "It makes a key there that nothing of ours uses."),),  # noqa: S108
        start_seconds=600,
        stop_seconds=30,
        # It bounds its connections by nothing else. The process that holds the model listens on a free port of the
        # loopback interface besides.
        files=65536,
        # The process that holds the model is the one that grows; the server need not end with it.
        oom_policy="continue",
        groups=_video,
        # Device groups as /proc/devices names them; those of Jetson boards behind those of cards.
        devices=("char-nvidia*", "char-nvhost*", "char-nvmap*", "char-nvgpu*"),
    ),
    contained=Contained(
        start=lambda _plan, _release_dir: {"command": ["serve"]},
        environment=lambda plan, _release_dir: _settings(plan, store_directory(plan)),
        reads=lambda plan, _release_dir: [store_directory(plan)],
        # The image has neither curl nor Python, but its own client.
        health=lambda _port: ["CMD", NAME, "list"],
        # The server answers at once; it loads with the first request.
        start_seconds=60,
        stop_seconds=20,
        pids=512,
        tmp="64m",
        home="16m",
    ),
    programs=(LOADER, JOURNAL),
    loader=LOADER,
    journal=JOURNAL,
)  # fmt: skip
