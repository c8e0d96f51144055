"""Which knobs of a plan a started engine has: on its command line, in its environment, or in what holds it in.

A knob that is not in the table reaches nobody as far as we know, and is told as that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """What an engine was started with. `held`: its limits by name; `made`: requests that made its models."""

    environment: Mapping[str, str]
    words: Sequence[str] = ()
    held: Mapping[str, Any] = field(default_factory=dict)
    made: Sequence[Mapping[str, Any]] = ()

    def option(self, name: str) -> str | None:
        """The word behind an option."""
        return next((after for word, after in zip(self.words, self.words[1:], strict=False) if word == name), None)


# Plan, what was seen, value of the knob.
Reached = Callable[[Mapping[str, Any], Seen, Any], bool]


def variable(name: str) -> Reached:
    return lambda _plan, seen, value: seen.environment.get(name) == str(value)


def switch(name: str) -> Reached:
    return lambda _plan, seen, value: seen.environment.get(name) == ("on" if value else "off")


def listed(name: str) -> Reached:
    return lambda _plan, seen, value: seen.environment.get(name) == ",".join(value)


def option(name: str) -> Reached:
    return lambda _plan, seen, value: seen.option(name) == str(value)


def held(name: str) -> Reached:
    return lambda _plan, seen, value: seen.held.get(name) == value


def both(*checks: Reached) -> Reached:
    return lambda plan, seen, value: all(check(plan, seen, value) for check in checks)


def in_models(_plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    """Answers of the model itself have that bound, and no variant sets none."""
    bounds = [one["parameters"].get("num_predict", value) for one in seen.made]
    return bool(bounds) and bounds[0] == value and all(bound >= 0 for bound in bounds)


def variants_made(_plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    found = {one["model"]: one["parameters"] for one in seen.made}
    return all(name in found and wanted["parameters"].items() <= found[name].items() for name, wanted in value.items())


def ollamas_own(_plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    return all(seen.environment.get(name) == wanted for name, wanted in value.items())


def ollamas_store(_plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    """Under systemd it is reached through a link of the release."""
    return seen.environment.get("OLLAMA_MODELS", "").endswith((f"/stores/{value}", "/store"))


def ollamas_gpu(plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    systemd = plan["service_manager"] == "systemd"
    return seen.environment.get("CUDA_VISIBLE_DEVICES") == value if systemd else seen.held.get("gpu") == value


def vllms_threads(plan: Mapping[str, Any], seen: Seen, value: Any) -> bool:
    on_gpu = plan["accelerator"] != "cpu"
    return seen.held.get("cpus") == value and (on_gpu or seen.environment.get("OMP_NUM_THREADS") == str(value))


COMMON: Mapping[str, Reached] = {"memory_max": held("memory"), "shm_size": held("shm"), "umask": held("umask")}
TABLE: Mapping[str, Mapping[str, Reached]] = {
    "onnx": {
        **COMMON,
        "threads": variable("PHI4_THREADS"),
        "queue": variable("PHI4_QUEUE"),
        "max_tokens": variable("PHI4_MAX_TOKENS"),
        "container_port": both(variable("PHI4_PORT"), held("port")),
        "allowed_hosts": listed("PHI4_ALLOWED_HOSTS"),
        "cors_origins": listed("PHI4_CORS_ORIGINS"),
        "connections": variable("PHI4_CONNECTIONS"),
        "deadline_seconds": variable("PHI4_DEADLINE_SECONDS"),
        "metrics": switch("PHI4_METRICS"),
        "repacked": variable("PHI4_REPACKED"),
        "prefix_cache": switch("PHI4_PREFIX_CACHE"),
    },
    "ollama": {
        **COMMON,
        "threads": variable("LLAMA_ARG_THREADS"),
        "queue": variable("OLLAMA_MAX_QUEUE"),
        "environment": ollamas_own,
        "max_tokens": in_models,
        "variants": variants_made,
        "store": ollamas_store,
        "container_port": both(
            lambda _plan, seen, value: seen.environment.get("OLLAMA_HOST") == f"0.0.0.0:{value}", held("port")
        ),
        "gpu": ollamas_gpu,
    },
    "vllm": {
        **COMMON,
        "threads": vllms_threads,
        "container_port": both(option("--port"), held("port")),
        "dtype": option("--dtype"),
        "max_num_seqs": both(option("--max-num-seqs"), variable("VLLM_MAX_N_SEQUENCES")),
        "kv_cache_space_gib": variable("VLLM_CPU_KVCACHE_SPACE"),
        "gpu_memory_utilization": option("--gpu-memory-utilization"),
        "enforce_eager": lambda _plan, seen, value: ("--enforce-eager" in seen.words) is value,
        "max_tokens": lambda _plan, seen, value: (
            seen.option("--override-generation-config") == json.dumps({"max_new_tokens": value})
        ),
        "gpu": held("gpu"),
    },
}


def unreached(plan: Mapping[str, Any], seen: Seen) -> list[str]:
    """The knobs of the plan that the engine does not have, with their values."""
    table = TABLE[plan["engine"]]
    return [
        f"{name}={value}"
        for name, value in plan["knobs"].items()
        if value is not None and not (name in table and table[name](plan, seen, value))
    ]


def of_compose(plan: Mapping[str, Any], service: Mapping[str, Any], made: Sequence[Mapping[str, Any]] = ()) -> Seen:
    """What a service of a Compose document is started with."""
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    limits = {
        "memory": service["mem_limit"], "cpus": service["cpus"], "shm": service["shm_size"],
        "port": service["ports"][0]["target"],
        "gpu": next((name.partition("=")[2] for one in devices for name in one["device_ids"]), None),
    }  # fmt: skip
    plain = {name: value.replace("$$", "$") for name, value in service["environment"].items()}
    words = [word.replace("$$", "$") for word in (*service.get("entrypoint", ()), *service.get("command", ()))]
    return Seen(plain, words, limits, made)


def of_unit(environment: str, unit: str, made: Sequence[Mapping[str, Any]] = ()) -> Seen:
    """What a unit is started with: the text of its environment file, and its own."""
    pairs = [line.partition("=") for line in environment.splitlines() if line and not line.startswith("#")]
    lines = {line.partition("=")[0]: line.partition("=")[2] for line in unit.splitlines()}
    limits = {"memory": int(lines["MemoryMax"]), "umask": lines["UMask"]}
    return Seen({name: value.strip('"') for name, _sign, value in pairs}, (), limits, made)
