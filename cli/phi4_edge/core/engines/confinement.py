"""What all containers of ours have in common: what holds them in, and the pieces that their documents are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core import layout

# Writable, private, and gone with the container.
HOME = "/home/engine"
# Nobody on the host has this number; distroless images use it for the same reason.
USER = 65532
LABEL_RELEASE = "phi4-edge.release"
LABEL_SERVICE = "phi4-edge.service"
# A container that asks for it all the same would be given every GPU where the host's default runtime is NVIDIA's.
NO_GPU = {"NVIDIA_VISIBLE_DEVICES": "void"}
# Inside a network of its own; only the planned address of the host is published.
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
HEALTH = {"interval": "10s", "timeout": "5s", "retries": 3}


def confined(memory: int, pids: int, stop_seconds: int) -> dict[str, Any]:
    """Return what holds any container of ours in; `memory` is bytes, without any swap."""
    return {
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ipc": "private",
        "init": True,
        "pids_limit": pids,
        "mem_limit": memory,
        "memswap_limit": memory,
        # When the gateway itself runs out of memory the model goes before sshd.
        "oom_score_adj": 300,
        # A core file would hold what people asked. No other limit is raised: some hosts forbid it.
        "ulimits": {"core": 0},
        "pull_policy": "never",
        # What ends it five times in a row is for the unit to start again, with a growing delay.
        "restart": "on-failure:5",
        "stop_grace_period": f"{stop_seconds}s",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }


def model_directory(plan: Mapping[str, Any]) -> str:
    """Return where the model lies, on the host and in the container."""
    return f"{layout.of(plan).models}/{plan['model']['digest'] or 'unknown'}"


def http_health(port: int, python: str = "python3") -> list[str]:
    """Return a health check for an image that has Python: none of them has curl."""
    return [
        "CMD",
        python,
        "-c",
        f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=4)",
    ]


def common_environment() -> dict[str, str]:
    """Return what every container is given: a home of its own that is writable, and no GPU but those that are named."""
    # There is no account of this number in the image; libraries that ask for its name take it from here.
    return {"HOME": HOME, "USER": "engine", "LOGNAME": "engine", "TMPDIR": "/tmp", **NO_GPU}  # noqa: S108 - its own


def labels(release: str, service: str) -> dict[str, str]:
    """Return what a container of ours is found by."""
    return {LABEL_RELEASE: release, LABEL_SERVICE: service}


def escaped(values: Mapping[str, Any]) -> dict[str, str]:
    """Return texts from which every release of Compose gives the container exactly `values`.

    Not through an env_file: its quoting differs between releases of Compose and from that of systemd.
    """
    return {name: str(value).replace("$", "$$") for name, value in sorted(values.items())}


def mount(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    """Return a bind mount in long form: Docker makes no directory where the source is missing, it refuses to start."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def scratch(path: str, size: str, *, execute: bool = False) -> str:
    """Return a file system in RAM that belongs to the container's user; it counts as the container's memory."""
    return f"{path}:rw,{'exec' if execute else 'noexec'},nosuid,nodev,size={size},mode=0700,uid={USER},gid={USER}"
