"""How each engine runs natively, under systemd: what is started, its environment, and how far it can be closed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from phi4_edge.core.layout import MODELS_PATH, RELEASES_PATH

Plan = Mapping[str, Any]
# What does not reach the journal: a program for sed, which lies in the release.
JOURNAL = "journal.sed"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the unit itself, and why it is set."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Native:
    """One row of the table; times in seconds.

    `start`: the command, given the release's directory. `settings`: its environment file. `reads`: what it must be
    able to read although all else of /opt and /var/lib is hidden. `start_seconds`: until READY=1, most of it to read
    the model from a slow card. `stop_seconds`: longer than the engine lets running answers finish. `watchdog_seconds`:
    without a sign of life for so long it is killed and restarted; 0: never. `hopeless_status`: exit status after which
    starting again cannot help; 0: none. `one_port`: it listens on its port and on no other. `handed`: systemd can hand
    it its port. `files`: that it may have open, connections among them. `groups`, `devices`: what it needs for a GPU.
    `oom_policy`: stop or continue, where one of its processes was killed for want of memory.
    """

    type: str
    start: Callable[[str], tuple[str, ...]]
    settings: Callable[[Plan, str], dict[str, str]]
    reads: tuple[str, ...]
    variables: tuple[Variable, ...]
    start_seconds: int
    stop_seconds: int
    files: int
    oom_policy: str
    watchdog_seconds: int = 0
    hopeless_status: int = 0
    one_port: bool = False
    handed: bool = False
    groups: Callable[[Plan], tuple[str, ...]] = lambda _plan: ()
    devices: tuple[str, ...] = ()


def onnx_settings(plan: Plan, model_dir: str, bind: str, port: int) -> dict[str, str]:
    """Return the settings of our own engine, natively and in a container."""
    allowed = plan["knobs"].get("allowed_hosts")
    return {
        **({"PHI4_ALLOWED_HOSTS": ",".join(allowed)} if allowed else {}),
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


def ollama_settings(plan: Plan, store: str) -> dict[str, str]:
    """Return Ollama's settings, natively and in a container."""
    # The template that the store was made with is Go's; without this Ollama would use one of its own.
    return {**plan["knobs"]["environment"], "OLLAMA_MODELS": store, "OLLAMA_GO_TEMPLATE": "1"}


def _video(plan: Plan) -> tuple[str, ...]:
    """The devices of a Jetson are open to this group alone."""
    return ("video",) if "jetpack" in str((plan["runtime"] or {}).get("artifact") or "") else ()


NATIVE: Mapping[str, Native] = MappingProxyType(
    {
        "onnx": Native(
            type="notify",
            start=lambda release: (f"{release}/engine/bin/python", "-I", "-m", "phi4_engine"),
            settings=lambda plan, release: onnx_settings(plan, f"{release}/model", plan["bind"], plan["port"]),
            reads=(RELEASES_PATH, f"{MODELS_PATH}/models"),
            variables=(Variable("ORT_DISABLE_TELEMETRY", "1", "onnxruntime reports to its maker otherwise."),),
            # Reading 2.4 GB from an SD card at 10 MB/s takes four minutes.
            start_seconds=600,
            # The engine lets running answers finish for 10 seconds.
            stop_seconds=20,
            watchdog_seconds=60,
            # EX_CONFIG: the engine says so when nothing but another release can help.
            hopeless_status=78,
            one_port=True,
            handed=True,
            # 256 connections, 32 for looks at its health, and what it has open besides; see the engine's README.
            files=2048,
            # The model process is no use without the web process, nor the other way round.
            oom_policy="stop",
        ),
        "ollama": Native(
            type="exec",
            # Its main process stays the unit's. What llama-server says is taken out on the way, on every release of
            # systemd: LogFilterPatterns= came with 253, and a tighter rate would lose warnings.
            start=lambda release: (
                "/bin/bash", "-c", 'exec "$0" serve > >(exec sed -u -E -f "$1") 2>&1',
                f"{release}/engine/bin/ollama", f"{release}/{JOURNAL}",
            ),
            settings=lambda plan, release: ollama_settings(plan, f"{release}/store"),
            # Where the model came from Ollama's library there need not be any models: "-" ignores a missing path.
            reads=(RELEASES_PATH, f"-{MODELS_PATH}/models", f"{MODELS_PATH}/stores"),
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
    }
)  # fmt: skip
