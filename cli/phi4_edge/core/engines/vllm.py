"""vLLM, in its image alone, for a GPU first; on a CPU where it is asked for."""

from __future__ import annotations

import json
from typing import Any

from phi4_edge.core.engines.confinement import EVERY_ADDRESS, HOME, http_health, model_directory
from phi4_edge.core.engines.spec import Contained, Deployment, Engine, Plan, Serving

# Our parser and template, which the vllm role puts into the release.
TOOL_PARSER = "tool_parser.py"
CHAT_TEMPLATE = "chat_template.jinja"
TOOL_CALLS = "tool_calls.py"
TOOL_PARSER_NAME = "phi4_edge"
# CUDA context and activations (its profiling run), bytes: with the weights, what it takes before its pool.
ACTIVATIONS = 1_500_000_000
# Its own default of --max-num-seqs.
MOST_SEQUENCES = 256
BFLOAT16_FROM = (8, 0)
GIB = 1 << 30
# 140 s were measured with a tiny model on two cores; 7.7 GB from a card at 10 MB/s take 13 minutes more.
START_SECONDS = 1800


def _knobs(it: Deployment) -> dict[str, Any]:
    # The context ends an answer anyway.
    bound = {"max_tokens": it.max_tokens} if it.max_tokens < it.context else {}
    if it.accelerator == "cpu":
        space = it.kv_cache // GIB
        # Its workers pass tensors through shared memory.
        own = {"dtype": "bfloat16", "kv_cache_space_gib": space, "max_num_seqs": it.parallel, "shm_size": 4 * GIB}
        return own | bound
    share = _share(it)
    room = share * it.pool_total // 100 - it.weights - ACTIVATIONS
    sequences = min(MOST_SEQUENCES, max(it.parallel, room // (it.kv_cache // it.parallel)))
    capability = it.gpu.compute_capability if it.gpu is not None else None
    return {
        # Turing has no bfloat16: it refuses to start with it there.
        "dtype": "bfloat16" if (capability or ()) >= BFLOAT16_FROM else "float16",
        "gpu_memory_utilization": share / 100,
        "max_num_seqs": sequences,
        "enforce_eager": True,
        **bound,
    }


def _share(it: Deployment) -> int:
    """Return the hundredths of the total that it takes as it starts, which must be free then.

    All that can be had of a card's own memory (rounded down, past the float's own error). Of memory that the host's
    programs use too, what it needs: the rest would be lost to them.
    """
    most = int((it.pool_available / it.pool_total + 1e-6) * 100)
    return min(most, -(-100 * (it.weights + ACTIVATIONS + it.kv_cache) // it.pool_total)) if it.unified else most


def _environment(plan: Plan, _release_dir: str) -> dict[str, str]:
    """Return the environment: no word to anybody, every cache in the private home, threads and KV pool as planned."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    caches = {
        "HF_HOME": f"{HOME}/huggingface",
        "VLLM_CACHE_ROOT": f"{HOME}/vllm",
        "VLLM_CONFIG_ROOT": f"{HOME}/vllm-config",
        "TORCHINDUCTOR_CACHE_DIR": f"{HOME}/inductor",
        "TRITON_CACHE_DIR": f"{HOME}/triton",
        "XDG_CACHE_HOME": f"{HOME}/cache",
    }
    # The default lets one request ask for 16,384 answers.
    limits = {"VLLM_MAX_N_SEQUENCES": str(max(1, int(plan["knobs"]["max_num_seqs"])))}
    return offline | caches | limits | (_cpu(plan) if plan["accelerator"] == "cpu" else {})


def _cpu(plan: Plan) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(plan["knobs"]["kv_cache_space_gib"]),
        # Its own choice binds threads to CPUs by their numbers, which a limited container need not have; the kernel
        # places as many as were planned.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(plan["knobs"]["threads"]),
    }


def _start(plan: Plan, release_dir: str) -> dict[str, Any]:
    """Return entrypoint and arguments. The entrypoint is ours, because images differ in theirs (some include `serve`).

    This one takes the model by --model only: a bare path would be ignored, and the default model looked for.
    """
    knobs = plan["knobs"]
    arguments = {
        "--model": model_directory(plan),
        "--served-model-name": plan["model"]["served_name"],
        "--host": EVERY_ADDRESS,
        "--port": knobs["container_port"],
        "--dtype": knobs.get("dtype", "bfloat16"),
        "--max-model-len": plan["context_length"],
        "--max-num-seqs": knobs["max_num_seqs"],
        "--tool-call-parser": TOOL_PARSER_NAME,
        "--tool-parser-plugin": f"{release_dir}/{TOOL_PARSER}",
        "--chat-template": f"{release_dir}/{CHAT_TEMPLATE}",
        # A small model that may put spaces between JSON's signs may put nothing else until its answer is full.
        "--structured-outputs-config": '{"backend": "guidance", "disable_any_whitespace": true}',
        "--disable-access-log-for-endpoints": "/health,/metrics",
    }
    if "gpu_memory_utilization" in knobs:
        arguments["--gpu-memory-utilization"] = knobs["gpu_memory_utilization"]
    if "max_tokens" in knobs:
        arguments["--override-generation-config"] = json.dumps({"max_new_tokens": knobs["max_tokens"]})
    words = [str(word).replace("$", "$$") for pair in arguments.items() for word in pair]
    # Compiling takes minutes on a gateway, memory beside the model, and a C compiler.
    eager = ["--enforce-eager"] if knobs.get("enforce_eager", plan["accelerator"] == "cpu") else []
    return {
        "entrypoint": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "command": [*words, "--enable-auto-tool-choice", *eager],
    }


ENGINE = Engine(
    name="vllm",
    doing="preparing the engine",
    knobs=_knobs,
    # No body: the status says all.
    serving=Serving("/health", START_SECONDS),
    contained=Contained(
        start=_start,
        environment=_environment,
        reads=lambda plan, release_dir: [
            model_directory(plan),
            f"{release_dir}/{TOOL_PARSER}",
            f"{release_dir}/{TOOL_CALLS}",
            f"{release_dir}/{CHAT_TEMPLATE}",
        ],
        health=http_health,
        start_seconds=START_SECONDS,
        stop_seconds=30,
        pids=1024,
        tmp="64m",
        home="512m",
        # Triton builds and loads kernels at run time, without torch.compile too.
        compiles=True,
    ),
    programs=(TOOL_PARSER, TOOL_CALLS, CHAT_TEMPLATE),
    refuses_to_shorten=True,
    gpu_first=True,
)
