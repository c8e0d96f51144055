"""What the inventory asks for: the `phi4_*` variables of one host, checked.

`VARIABLES` is the complete list; anything else that starts with `phi4_` is an error. `EXTRA` are variables of roles.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core import image_reference as reference
from phi4_edge.core.catalog.table import PROFILES
from phi4_edge.core.engines import modelfile as variants
from phi4_edge.core.text import clean, closest
from phi4_edge.errors import ArtifactError, InventoryError

PREFIX = "phi4_"
ENGINES = ("onnx", "ollama", "vllm")
# A test holds this equal to the variants of the catalog.
QUANTIZATIONS = ("int4", "int4_untied", "q4_0", "q4_K_M", "q5_1", "q8_0", "bf16")
MODELS = ("phi-4-mini-instruct", "tiny")
# 131,072 is what the model was trained for; below 512 not even the chat template and a short answer have room.
SHORTEST_CONTEXT, LONGEST_CONTEXT = 512, 131072
AUTO = "auto"
# Where an INI inventory would have to say nothing.
NONE = "none"

DELIVERIES = ("push", "registry")
# Components on the host whose version is held against data/cve_floors.yml.
COMPONENTS = ("docker", "runc", "nvidia-container-toolkit")
# A test holds this equal to the catalog's.
SEED_VARIANTS = ("phi4-mini-reasoning", "phi4-mini-coder")

MOST_ALLOWED = 32
_HOSTS = f"none, or a list of up to {MOST_ALLOWED} host names and addresses without ports, such as gw1.example"
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Overrides:
    """The choices of the operator for one host. "auto" and None mean: decide."""

    host: str = ""
    profile: str = AUTO
    engine: str = AUTO
    quantization: str = AUTO
    context_length: int | None = None
    parallel: int = 1
    service_manager: str = AUTO
    port: int = 8080
    bind: str = "127.0.0.1"
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
    allowed_hosts: tuple[str, ...] = ()
    webui_max_tokens: int | None = None
    webui_builtin_tools: bool = False
    webui_titles: bool | None = None
    webui_follow_ups: bool = False
    webui_tags: bool = False

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
            else:
                problems.append(f"{clean(name, 60)} is not a variable of phi4-edge{closest(name, list(VARIABLES))}")
                continue
            try:
                values[wanted] = check(value)
            except ValueError as error:
                problems.append(f"{name}: found {clean(repr(value), 60)}, needed {error}")
        problems += _together(cls(host=host, **values)) if not problems else []
        if problems:
            raise InventoryError(
                f"{clean(host, 253)}: {'; '.join(problems)}. Correct the inventory; nothing was changed."
            )
        return cls(host=host, **values)

    @property
    def asks(self) -> tuple[str, ...]:
        """What bears on the choice and was asked for, as "name=value"; () when all is left to us."""
        wanted = {
            "profile": self.profile,
            "engine": self.engine,
            "quantization": self.quantization,
            "context_length": self.context_length,
            "parallel": self.parallel if self.parallel != 1 else None,
            "service_manager": self.service_manager,
            "threads": self.threads,
        }
        return tuple(f"{PREFIX}{name}={value}" for name, value in wanted.items() if value not in (None, AUTO))


def _one_of(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        wanted = str(value).strip().lower()
        for name in known:
            if name.lower() == wanted:
                return name
        raise ValueError(f"one of {', '.join(known)}{closest(wanted, list(known))}")

    return check


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        # INI inventories give numbers as text; isascii keeps other scripts' digits out.
        if text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most}")

    return check


def _auto_or(check: Callable[[Any], int]) -> Callable[[Any], int | None]:
    def checked(value: Any) -> int | None:
        if isinstance(value, str) and value.strip().lower() == AUTO:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"auto or {error}") from None

    return checked


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text in _TRUE


def _address(value: Any) -> str:
    try:
        address = ipaddress.ip_address(str(value).strip())
    except ValueError:
        address = None
    # A scope (fe80::1%eth0) names an interface that may have another name after a reboot.
    if address is None or address.is_multicast or "%" in str(address):
        raise ValueError("an IP address of the host, such as 127.0.0.1")
    return str(address)


def _hosts(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(_HOSTS)
    names = tuple(dict.fromkeys(word.strip().rstrip(".").lower() for word in words if word.strip()))
    names = () if names == (NONE,) else names
    if len(names) > MOST_ALLOWED or not all(map(_names_a_host, names)):
        raise ValueError(_HOSTS)
    return names


def _names_a_host(name: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(name))
    except ValueError:
        labels = name.split(".")
        return len(name) <= 253 and not labels[-1].isdigit() and all(map(_LABEL.fullmatch, labels))


def _seconds(value: Any) -> float:
    try:
        seconds = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0 <= seconds <= 3600:
        raise ValueError("a number of seconds from 0 to 3600")
    return seconds


def _variants(value: Any) -> Mapping[str, Any]:
    # Checked as if those of the catalog were there: a name of theirs may be built upon.
    variants.check(value, {name: {"from": variants.BASE} for name in SEED_VARIANTS})
    return variants.parse(value)


def _mirror(value: Any) -> str:
    text = "" if value is None else str(value).strip().rstrip("/")
    if text.lower() in ("", NONE):
        return ""
    try:
        reference.endpoint(reference.Reference(reference.DOCKER_HUB, "library/x", "1", ""), text)
    except ArtifactError:
        raise ValueError("a registry as host[:port][/prefix], such as mirror.example:5000/edge") from None
    return text


def _worker(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", NONE):
        return ""
    if not text.isprintable() or any(map(str.isspace, text)) or text.startswith("-"):
        raise ValueError("none, or a worker as --worker names it: host, or user@host[:port]")
    return text


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
    "phi4_profile": _one_of(AUTO, *PROFILES),
    "phi4_engine": _one_of(AUTO, *ENGINES),
    "phi4_quantization": _one_of(AUTO, *QUANTIZATIONS),
    "phi4_context_length": _auto_or(_whole(SHORTEST_CONTEXT, LONGEST_CONTEXT)),
    "phi4_parallel": _whole(1, 256),
    "phi4_service_manager": _one_of(AUTO, "systemd", "compose"),
    "phi4_port": _whole(1, 65535),
    "phi4_bind": _address,
    "phi4_allowed_hosts": _hosts,
    "phi4_force": _flag,
    "phi4_model": _one_of(*MODELS),
    "phi4_threads": _auto_or(_whole(1, 1024)),
    "phi4_max_tokens": _auto_or(_whole(1, LONGEST_CONTEXT)),
    "phi4_stability_seconds": _seconds,
    "phi4_variants": _variants,
    "phi4_image_delivery": _one_of(*DELIVERIES),
    "phi4_image_mirror": _mirror,
    "phi4_accept_below_floor": _components,
    "phi4_worker": _worker,
}
# Variables of roles that the plan depends on: name here, and the check. Others of these roles are not looked at.
EXTRA: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "webui_enabled": ("webui_enabled", _flag),
    "webui_port": ("webui_port", _whole(1, 65535)),
    "webui_max_tokens": ("webui_max_tokens", _auto_or(_whole(16, LONGEST_CONTEXT))),
    "webui_builtin_tools": ("webui_builtin_tools", _flag),
    "webui_titles": ("webui_titles", _auto_or(_flag)),
    "webui_follow_ups": ("webui_follow_ups", _flag),
    "webui_tags": ("webui_tags", _flag),
    "nvidia_runtime_driver_install": ("driver_install", _flag),
}


def _together(found: Overrides) -> list[str]:
    """Return what is wrong between variables that are right one by one."""
    if found.webui_enabled and found.webui_port == found.port:
        return [f"webui_port: found {found.port}, which is phi4_port too, needed a port of its own"]
    return []
