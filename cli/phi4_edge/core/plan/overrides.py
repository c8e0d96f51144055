"""What the inventory asks for: the `phi4_*` variables of one host, checked.

`VARIABLES` and `PASSED` are the complete list; anything else that starts with `phi4_` is an error. `EXTRA` are
variables of roles.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.catalog.table import PROFILES
from phi4_edge.core.engines import modelfile
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.layout import LOOPBACK, STANDARD, Layout
from phi4_edge.core.names import NONE, host_names, origins
from phi4_edge.core.text import clean, closest
from phi4_edge.core.values import (
    AUTO,
    address,
    auto_or,
    directory,
    docker_root,
    endpoint,
    flag,
    line,
    mirror,
    one_of,
    optional_line,
    rate,
    seconds,
    whole,
    worker,
)
from phi4_edge.core.values import layout as apart
from phi4_edge.errors import InventoryError

PREFIX = "phi4_"
# A test holds this equal to the variants of the catalog.
QUANTIZATIONS = (
    *("int4", "int4_b64", "int4_b128", "int4_k", "int4_untied"),
    *("q4_0", "q4_K_M", "q5_1", "q8_0", "bf16"),
)
MODELS = ("phi-4-mini-instruct", "tiny")
# 131,072 is what the model was trained for; below 512 not even the chat template and a short answer have room.
SHORTEST_CONTEXT, LONGEST_CONTEXT = 512, 131072

# What comes first of the candidates that fit; `listed`: as the catalog has them.
LISTED, SPEED, MEMORY = PREFERENCES = ("listed", "speed", "memory")
DELIVERIES = ("push", "registry")
# Components on the host whose version is held against data/cve_floors.yml.
COMPONENTS = ("docker", "runc", "nvidia-container-toolkit")
# A test holds this equal to the catalog's.
SEED_VARIANTS = ("phi4-mini-reasoning", "phi4-mini-coder")


@dataclass(frozen=True, slots=True)
class Overrides:
    """The choices of the operator for one host. "auto" and None mean: decide."""

    host: str = ""
    profile: str = AUTO
    engine: str = AUTO
    quantization: str = AUTO
    context_length: int | None = None
    parallel: int | None = None
    service_manager: str = AUTO
    port: int = 8080
    bind: str = LOOPBACK
    force: bool = False
    model: str = MODELS[0]
    threads: int | None = None
    max_tokens: int | None = None
    stability_seconds: float = 5.0
    variants: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)
    image_delivery: str = "push"
    image_mirror: str = ""
    accept_below_floor: tuple[str, ...] = ()
    webui_enabled: bool = False
    webui_port: int = 3000
    driver_install: bool = False
    worker: str = ""
    root: str = STANDARD.root
    state: str = STANDARD.state
    allowed_hosts: tuple[str, ...] = ()
    webui_max_tokens: int | None = None
    webui_builtin_tools: bool = False
    webui_titles: bool | None = None
    webui_follow_ups: bool = False
    webui_tags: bool = False
    docker_root: str = ""
    selfheal: bool = False
    prefer: str = LISTED
    cors_origins: tuple[str, ...] = ()
    connections: int | None = None
    deadline_seconds: int | None = None
    metrics: bool = True
    prefix_cache: bool = True
    repacked: bool = False
    open: bool = False
    gateway: bool = False
    gateway_port: int = 8443
    gateway_tls: bool = True
    gateway_keys: str = ""
    gateway_certificate: str = ""
    gateway_certificate_key: str = ""
    gateway_names: tuple[str, ...] = ()
    gateway_queue: int = 16
    gateway_client_ca: str = ""

    @classmethod
    def from_vars(cls, host: str, variables: Mapping[str, Any]) -> Overrides:
        """Return the overrides in a host's variables; those without our prefix are ignored.

        Raises InventoryError that names every variable that is unknown or has no usable value.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, value in variables.items():
            if name in EXTRA:
                wanted, check = EXTRA[name]
            elif not name.startswith(PREFIX):
                continue
            elif name in VARIABLES:
                wanted, check = name.removeprefix(PREFIX), VARIABLES[name]
            elif name in PASSED:
                wanted, check = "", PASSED[name]
            else:
                known = [*VARIABLES, *PASSED, *EXTRA]
                problems.append(f"{clean(name, 60)} is not a variable of phi4-edge{closest(name, known)}")
                continue
            try:
                values[wanted] = check(value)
            except ValueError as error:
                problems.append(f"{name}: found {clean(repr(value), 60)}, needed {error}")
        values.pop("", None)
        problems += _together(cls(host=host, **values)) if not problems else []
        if problems:
            raise InventoryError(
                f"{clean(host, 253)}: {'; '.join(problems)}. Correct the inventory; nothing was changed."
            )
        return cls(host=host, **values)

    @property
    def layout(self) -> Layout:
        """Where the host has what is installed."""
        return Layout(self.root, self.state)

    @property
    def engine_bind(self) -> str:
        """Where the engine listens: behind a gateway on loopback, for `bind` is the gateway's."""
        return LOOPBACK if self.gateway else self.bind

    @property
    def asks(self) -> tuple[str, ...]:
        """What bears on the choice and was asked for, as "name=value"; () when all is left to us."""
        wanted = {
            "profile": self.profile,
            "engine": self.engine,
            "quantization": self.quantization,
            "context_length": self.context_length,
            "parallel": self.parallel,
            "service_manager": self.service_manager,
            "threads": self.threads,
        }
        return tuple(f"{PREFIX}{name}={value}" for name, value in wanted.items() if value not in (None, AUTO))


def _variants(value: Any) -> Mapping[str, Any]:
    # Checked as if those of the catalog were there: a name of theirs may be built upon.
    modelfile.check(value, {name: {"from": modelfile.BASE} for name in SEED_VARIANTS})
    return modelfile.parse(value)


def _components(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"a list of {', '.join(COMPONENTS)}")
    names = tuple(dict.fromkeys(word.strip().lower() for word in words if word.strip()))
    names = () if names == (NONE,) else names
    for name in names:
        if name not in COMPONENTS:
            raise ValueError(f"a list of {', '.join(COMPONENTS)}{closest(name, list(COMPONENTS))}")
    return names


VARIABLES: Mapping[str, Callable[[Any], Any]] = {
    "phi4_profile": one_of(AUTO, *PROFILES),
    "phi4_engine": one_of(AUTO, *ENGINES),
    "phi4_quantization": one_of(AUTO, *QUANTIZATIONS),
    "phi4_prefer": one_of(*PREFERENCES),
    "phi4_context_length": auto_or(whole(SHORTEST_CONTEXT, LONGEST_CONTEXT)),
    "phi4_parallel": auto_or(whole(1, 256)),
    "phi4_service_manager": one_of(AUTO, "systemd", "compose"),
    "phi4_port": whole(1, 65535),
    "phi4_bind": address,
    "phi4_open": flag,
    "phi4_gateway": flag,
    "phi4_gateway_port": whole(1, 65535),
    "phi4_gateway_tls": flag,
    "phi4_gateway_keys": optional_line,
    "phi4_gateway_certificate": optional_line,
    "phi4_gateway_certificate_key": optional_line,
    "phi4_gateway_names": host_names,
    "phi4_gateway_queue": whole(1, 4096),
    "phi4_gateway_client_ca": optional_line,
    "phi4_allowed_hosts": host_names,
    "phi4_cors_origins": origins,
    "phi4_connections": auto_or(whole(8, 1024)),
    "phi4_deadline_seconds": auto_or(whole(1, 86400)),
    "phi4_metrics": flag,
    "phi4_prefix_cache": flag,
    "phi4_repacked": flag,
    "phi4_force": flag,
    "phi4_model": one_of(*MODELS),
    "phi4_selfheal": flag,
    "phi4_threads": auto_or(whole(1, 1024)),
    "phi4_max_tokens": auto_or(whole(1, LONGEST_CONTEXT)),
    "phi4_stability_seconds": seconds,
    "phi4_variants": _variants,
    "phi4_image_delivery": one_of(*DELIVERIES),
    "phi4_image_mirror": mirror,
    "phi4_accept_below_floor": _components,
    "phi4_worker": worker,
    "phi4_root": directory,
    "phi4_state": directory,
}
# What roles and playbooks read themselves, and no plan depends on: checked with the others, before a host is changed.
PASSED: Mapping[str, Callable[[Any], Any]] = {
    "phi4_hosts": line,
    "phi4_doctor_fail": flag,
    "phi4_docker_source": one_of("docker", "distribution"),
    "phi4_docker_repository_url": line,
    "phi4_docker_key_url": line,
    "phi4_docker_key_fingerprint": line,
    "phi4_docker_version": line,
    "phi4_docker_containerd_version": line,
    "phi4_docker_compose_version": line,
    "phi4_docker_lock_timeout": whole(1, 86400),
    "phi4_balancer_of": optional_line,
    "phi4_balancer_ca": optional_line,
    "phi4_balancer_client_certificate": optional_line,
    "phi4_artifact_bandwidth": rate,
    "phi4_artifact_address": endpoint,
    "phi4_artifact_seed": line,
}
# Variables of roles that the plan depends on: name here, and the check. Others of these roles are not looked at.
EXTRA: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "webui_enabled": ("webui_enabled", flag),
    "webui_port": ("webui_port", whole(1, 65535)),
    "webui_max_tokens": ("webui_max_tokens", auto_or(whole(16, LONGEST_CONTEXT))),
    "webui_builtin_tools": ("webui_builtin_tools", flag),
    "webui_titles": ("webui_titles", auto_or(flag)),
    "webui_follow_ups": ("webui_follow_ups", flag),
    "webui_tags": ("webui_tags", flag),
    "nvidia_runtime_driver_install": ("driver_install", flag),
    "phi4_docker_daemon": ("docker_root", docker_root),
}


def _together(found: Overrides) -> list[str]:
    """Return what is wrong between variables that are right one by one."""
    ports = {"phi4_port": found.port}
    ports |= {"webui_port": found.webui_port} if found.webui_enabled else {}
    ports |= {"phi4_gateway_port": found.gateway_port} if found.gateway else {}
    for name, port in list(ports.items())[1:]:
        same = next(other for other, taken in ports.items() if taken == port)
        if same != name:
            return [f"{name}: found {port}, which is {same} too, needed a port of its own"]
    if exposed := _exposed(found):
        return [exposed]
    try:
        apart(found.root, found.state)
    except ValueError as error:
        return [f"phi4_root, phi4_state: found {found.root} and {found.state}, needed {error}"]
    return []


def _exposed(found: Overrides) -> str:
    """Return why what others reach is refused, "" where it is not, or the risk was named."""
    if found.gateway_client_ca and not (found.gateway and found.gateway_tls):
        lacks = "phi4_gateway_tls=false" if found.gateway else "no gateway"
        needed = "phi4_gateway=true and phi4_gateway_tls=true: set both, or leave it out"
        return f"phi4_gateway_client_ca: found it with {lacks}, needed {needed}"
    if found.open or ipaddress.ip_address(found.bind).is_loopback:
        return ""
    if not found.gateway:
        return (
            f"phi4_bind: found {found.bind} without a gateway, where whoever reaches the port may use the model; "
            "needed phi4_gateway=true, which asks for a key, or phi4_open=true to name that risk"
        )
    if not found.gateway_tls:
        return (
            f"phi4_gateway_tls: found false with phi4_bind={found.bind}, where keys and answers go over the network as "
            "they are; needed true, or phi4_open=true to name that risk"
        )
    return ""
