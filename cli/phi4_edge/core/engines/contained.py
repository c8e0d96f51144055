"""How each engine runs in its container: what is started, its environment, what it reads, how health is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from phi4_edge.core.engines.confinement import HOME
from phi4_edge.core.engines.native import NATIVE, ollama_settings, onnx_settings
from phi4_edge.core.layout import MODELS_PATH

# Our parser and template, which the vllm role puts into the release.
TOOL_PARSER = "tool_parser.py"
CHAT_TEMPLATE = "chat_template.jinja"
TOOL_CALLS = "tool_calls.py"
TOOL_PARSER_NAME = "phi4_edge"
# Where the image that the controller builds has the engine's environment.
ONNX_PYTHON = "/opt/phi4-edge/engine/bin/python"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a network of its own; only the planned address of the host is published

Plan = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """One row of the table; sizes as Compose writes them, times in seconds.

    `start` gives entrypoint and command, `reads` the paths that are mounted read-only. `compiles`: its home must hold
    programs too, because a kernel compiler writes and loads them there. `start_seconds`: how long it may load before a
    failed health check counts.
    """

    start: Callable[[Plan, str], dict[str, Any]]
    environment: Callable[[Plan, str], dict[str, str]]
    reads: Callable[[Plan, str], list[str]]
    health: Callable[[int], list[str]]
    start_seconds: int
    stop_seconds: int
    pids: int
    tmp: str
    home: str
    compiles: bool = False


def model_directory(plan: Plan) -> str:
    """Return where the model lies, on the host and in the container."""
    return f"{MODELS_PATH}/models/{plan['model']['digest'] or 'unknown'}"


def store_directory(plan: Plan) -> str:
    """Return where Ollama's store for this plan lies, on the host and in the container."""
    return f"{MODELS_PATH}/stores/{plan['knobs'].get('store') or 'unknown'}"


def http_health(port: int, python: str = "python3") -> list[str]:
    """Return a health check for an image that has Python: none of them has curl."""
    return [
        "CMD",
        python,
        "-c",
        f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=4)",
    ]


def _onnx_environment(plan: Plan, _release_dir: str) -> dict[str, str]:
    port = int(plan["knobs"]["container_port"])
    unit = {variable.name: variable.value for variable in NATIVE["onnx"].variables}
    return unit | onnx_settings(plan, model_directory(plan), _EVERYWHERE, port)


def _ollama_environment(plan: Plan, _release_dir: str) -> dict[str, str]:
    return ollama_settings(plan, store_directory(plan))


def _vllm_environment(plan: Plan, _release_dir: str) -> dict[str, str]:
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
    return offline | caches | limits | (_vllm_cpu(plan) if plan["accelerator"] == "cpu" else {})


def _vllm_cpu(plan: Plan) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(plan["knobs"]["kv_cache_space_gib"]),
        # Its own choice binds threads to CPUs by their numbers, which a limited container need not have; the kernel
        # places as many as were planned.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(plan["knobs"]["threads"]),
    }


def _vllm_start(plan: Plan, release_dir: str) -> dict[str, Any]:
    """Return entrypoint and arguments. The entrypoint is ours, because images differ in theirs (some include `serve`).

    This one takes the model by --model only: a bare path would be ignored, and the default model looked for.
    """
    knobs = plan["knobs"]
    arguments = {
        "--model": model_directory(plan),
        "--served-model-name": plan["model"]["served_name"],
        "--host": _EVERYWHERE,
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


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "onnx": Engine(
            start=lambda _plan, _release_dir: {"entrypoint": [ONNX_PYTHON, "-I", "-m", "phi4_engine"]},
            environment=_onnx_environment,
            reads=lambda plan, _release_dir: [model_directory(plan)],
            health=lambda port: http_health(port, ONNX_PYTHON),
            # Reading 2.4 GB from an SD card at 10 MB/s takes four minutes.
            start_seconds=600,
            # The engine lets running answers finish for 10 seconds.
            stop_seconds=20,
            pids=256,
            tmp="16m",
            home="16m",
        ),
        "ollama": Engine(
            start=lambda _plan, _release_dir: {"command": ["serve"]},
            environment=_ollama_environment,
            reads=lambda plan, _release_dir: [store_directory(plan)],
            # The image has neither curl nor Python, but its own client.
            health=lambda _port: ["CMD", "ollama", "list"],
            # The server answers at once; it loads with the first request.
            start_seconds=60,
            stop_seconds=20,
            pids=512,
            tmp="64m",
            home="16m",
        ),
        "vllm": Engine(
            start=_vllm_start,
            environment=_vllm_environment,
            reads=lambda plan, release_dir: [
                model_directory(plan),
                f"{release_dir}/{TOOL_PARSER}",
                f"{release_dir}/{TOOL_CALLS}",
                f"{release_dir}/{CHAT_TEMPLATE}",
            ],
            health=http_health,
            # 140 s were measured with a tiny model on two cores; 7.7 GB from a card at 10 MB/s take 13 minutes more.
            start_seconds=1800,
            stop_seconds=30,
            pids=1024,
            tmp="64m",
            home="512m",
            # Triton builds and loads kernels at run time, without torch.compile too.
            compiles=True,
        ),
    }
)
