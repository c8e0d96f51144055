"""Our own engine around ONNX Runtime: under systemd from its wheels, or in the image that the controller builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.engines.confinement import EVERY_ADDRESS, http_health, model_directory
from phi4_edge.core.engines.spec import Contained, Deployment, Engine, Native, Plan, Serving, Variable
from phi4_edge.core.layout import KEY_USAGE_CACHE, LOOPBACK, of

# Where the image that the controller builds has the engine's environment.
PYTHON = "/opt/phi4-edge/engine/bin/python"
# Reading 2.4 GB from an SD card at 10 MB/s takes four minutes.
START_SECONDS = 600
# The engine lets running answers finish for 10 seconds.
STOP_SECONDS = 20
_QUIET = Variable("ORT_DISABLE_TELEMETRY", "1", "onnxruntime reports to its maker otherwise.")


# An answer of which nobody said how long it may be keeps others waiting no longer than this.
ANSWER_TOKENS = 1024
# Four at a time get more than twice the tokens of one (benchmarks/decode_loop.py); more gain little on a CPU.
STREAMS = 4
# Where it counts the tokens of keys, and keeps the counts of a day; it believes no header about keys without.
_KEY_USAGE = "PHI4_KEY_USAGE"
# Those that are there only where the inventory says something: variable, and what it says there.
_GIVEN: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "allowed_hosts": ("PHI4_ALLOWED_HOSTS", ",".join),
    "cors_origins": ("PHI4_CORS_ORIGINS", ",".join),
    "connections": ("PHI4_CONNECTIONS", str),
    "deadline_seconds": ("PHI4_DEADLINE_SECONDS", str),
    "metrics": ("PHI4_METRICS", lambda wanted: "on" if wanted else "off"),
    "prefix_cache": ("PHI4_PREFIX_CACHE", lambda wanted: "on" if wanted else "off"),
    "repacked": ("PHI4_REPACKED", str),
}


def _knobs(it: Deployment) -> dict[str, Any]:
    given = {
        "allowed_hosts": list(it.allowed_hosts) or None,
        "cors_origins": list(it.cors_origins) or None,
        "connections": it.connections,
        "deadline_seconds": it.deadline_seconds,
        "metrics": None if it.metrics else False,
        "prefix_cache": None if it.prefix_cache else False,
        "repacked": it.repacked or None,
    }
    own = {name: value for name, value in given.items() if value is not None}
    return {"queue": it.queue, "max_tokens": it.max_tokens, **own}


def _settings(plan: Plan, model_dir: str, bind: str, port: int) -> dict[str, str]:
    """Return its settings, natively and in a container."""
    knobs = plan["knobs"]
    return {
        **{variable: said(knobs[name]) for name, (variable, said) in _GIVEN.items() if name in knobs},
        "PHI4_MODEL_DIR": model_dir,
        "PHI4_MODEL_NAME": plan["model"]["served_name"],
        "PHI4_BIND": bind,
        "PHI4_PORT": str(port),
        "PHI4_CONTEXT_LENGTH": str(plan["context_length"]),
        "PHI4_THREADS": str(plan["knobs"]["threads"]),
        "PHI4_PARALLEL": str(plan["parallel"]),
        "PHI4_QUEUE": str(plan["knobs"]["queue"]),
        "PHI4_MAX_TOKENS": str(plan["knobs"].get("max_tokens") or plan["context_length"]),
        "PHI4_RELEASE": plan["release"],
    }


def _native_settings(plan: Plan, release: str) -> dict[str, str]:
    kept = _native_keeps(plan)
    counting = {_KEY_USAGE: f"/var/cache/{kept}"} if kept else {}
    return {**_settings(plan, f"{release}/model", plan["bind"], plan["port"]), **counting}


def _native_keeps(plan: Plan) -> str:
    return KEY_USAGE_CACHE if _behind_gateway(plan) else ""


def _contained_keeps(plan: Plan) -> tuple[str, ...]:
    return (of(plan).key_usage,) if _behind_gateway(plan) else ()


def _behind_gateway(plan: Plan) -> bool:
    """Return whether a gateway says whose request it is; without one everybody could."""
    return plan.get("gateway") is not None


def _environment(plan: Plan, _release_dir: str) -> dict[str, str]:
    port = int(plan["knobs"]["container_port"])
    counting = {_KEY_USAGE: of(plan).key_usage} if _behind_gateway(plan) else {}
    return {_QUIET.name: _QUIET.value} | _settings(plan, model_directory(plan), EVERY_ADDRESS, port) | counting


ENGINE = Engine(
    name="onnx",
    doing="installing the engine",
    knobs=_knobs,
    serving=Serving("/health", START_SECONDS, names_release=True, counts=True),
    native=Native(
        type="notify",
        start=lambda release: (f"{release}/engine/bin/python", "-I", "-m", "phi4_engine"),
        settings=_native_settings,
        rehearsal=lambda port: {"PHI4_BIND": LOOPBACK, "PHI4_PORT": str(port), _KEY_USAGE: ""},
        reads=lambda there: (there.root, there.models, f"-{there.repacked}"),
        variables=(_QUIET,),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        watchdog_seconds=60,
        # EX_CONFIG: the engine says so when nothing but another release can help.
        hopeless_status=78,
        one_port=True,
        handed=True,
        # 256 connections, 32 for looks at its health, and what it has open besides; see the engine's README.
        files=2048,
        keeps=_native_keeps,
        # The model process is no use without the web process, nor the other way round.
        oom_policy="stop",
    ),
    contained=Contained(
        start=lambda _plan, _release_dir: {"entrypoint": [PYTHON, "-I", "-m", "phi4_engine"]},
        environment=_environment,
        reads=lambda plan, _release_dir: [model_directory(plan)],
        health=lambda port: http_health(port, PYTHON),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        pids=256,
        tmp="16m",
        home="16m",
        keeps=_contained_keeps,
    ),
    holds_clients=True,
    # The floor of llguidance's wheels; RHEL 8 has 2.28 and a Python that the engine runs on.
    forms_glibc="2.31",
    answer_tokens=ANSWER_TOKENS,
    streams=STREAMS,
    fills_slowly=True,
)
