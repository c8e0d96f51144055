"""Stands for an engine that somebody adds: all that core has to know of a server of llama.cpp's kind."""

from __future__ import annotations

from typing import Any

from phi4_edge.core.engines.confinement import EVERY_ADDRESS, http_health, model_directory
from phi4_edge.core.engines.spec import Contained, Deployment, Engine, Native, Plan, Serving
from phi4_edge.core.layout import LOOPBACK


def _knobs(it: Deployment) -> dict[str, Any]:
    return {"queue": it.queue, "max_tokens": it.max_tokens}


def _settings(plan: Plan, model: str, bind: str, port: int) -> dict[str, str]:
    return {
        "LLAMA_ARG_MODEL": f"{model}/model.gguf",
        "LLAMA_ARG_ALIAS": plan["model"]["served_name"],
        "LLAMA_ARG_HOST": bind,
        "LLAMA_ARG_PORT": str(port),
        "LLAMA_ARG_CTX_SIZE": str(plan["context_length"]),
        "LLAMA_ARG_N_PREDICT": str(plan["knobs"]["max_tokens"]),
        "LLAMA_ARG_THREADS": str(plan["knobs"]["threads"]),
    }


ENGINE = Engine(
    name="fourth",
    doing="installing the fourth engine",
    knobs=_knobs,
    serving=Serving("/health", 600, holds="status"),
    native=Native(
        type="exec",
        start=lambda release: (f"{release}/engine/bin/server",),
        settings=lambda plan, release: _settings(plan, f"{release}/model", plan["bind"], plan["port"]),
        rehearsal=lambda port: {"LLAMA_ARG_HOST": LOOPBACK, "LLAMA_ARG_PORT": str(port)},
        reads=lambda there: (there.root, there.models),
        variables=(),
        start_seconds=600,
        stop_seconds=20,
        files=2048,
        oom_policy="stop",
    ),
    contained=Contained(
        start=lambda _plan, _release_dir: {"entrypoint": ["/bin/server"]},
        environment=lambda plan, _release_dir: _settings(
            plan, model_directory(plan), EVERY_ADDRESS, plan["knobs"]["container_port"]
        ),
        reads=lambda plan, _release_dir: [model_directory(plan)],
        health=http_health,
        start_seconds=600,
        stop_seconds=20,
        pids=256,
        tmp="16m",
        home="16m",
    ),
)
