"""Where Docker and containerd keep images on this host: settings move both.

Python 3.8, standard library. Who runs says it best; where nobody answers, the files that tell it where to begin do.
"""

from __future__ import annotations

import json
import os
import re
from typing import Optional, Tuple

DOCKER, CONTAINERD = "/var/lib/docker", "/var/lib/containerd"
DAEMON_JSON, CONTAINERD_TOML = "/etc/docker/daemon.json", "/etc/containerd/config.toml"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
# `data-root` was called `graph` before Docker 17.05, and understood as that until Docker 23.
DOCKER_KEYS = ("data-root", "graph")
FILE_LIMIT = 1 << 20
LONGEST = 500
# A key before the first table of a TOML file, with a string of either kind.
TOML_ROOT = re.compile(r"""^\s*root\s*=\s*(?:"([^"\\]*)"|'([^']*)')\s*(?:#.*)?$""")


def folder(value: object) -> Optional[str]:
    """An absolute path in its shortest form, None for anything else."""
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable() or len(value) > LONGEST:
        return None
    return os.path.normpath("/" + value.lstrip("/"))


def roots(said: str, root: str = "") -> Tuple[str, str]:
    """Where Docker keeps everything, and where containerd keeps images.

    `said`: what Docker itself says, "" where it does not answer. One that found no containerd when it started has
    started its own, below its own folder.
    """
    told = folder(said.strip())
    docker = told or configured(root) or DOCKER
    alone = told is not None and not os.path.exists(root + CONTAINERD_SOCKET)
    return docker, docker if alone else containerd(root)


def containerd(root: str) -> str:
    """What containerd's own file says, else its default."""
    for line in text(root + CONTAINERD_TOML).split("\n"):
        if line.lstrip().startswith("["):
            break
        found = TOML_ROOT.match(line)
        if found is not None:
            return folder(found.group(1) or found.group(2)) or CONTAINERD
    return CONTAINERD


def configured(root: str) -> Optional[str]:
    """What Docker's own file says, None without a usable one."""
    try:
        settings = json.loads(text(root + DAEMON_JSON))
    except (ValueError, RecursionError):
        return None
    if not isinstance(settings, dict):
        return None
    return next((path for path in (folder(settings.get(key)) for key in DOCKER_KEYS) if path), None)


def text(path: str) -> str:
    """A small file, "" where it is not there, not readable or not small."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            data = stream.read(FILE_LIMIT + 1)
    except OSError:
        return ""
    return "" if data is None or len(data) > FILE_LIMIT else data.decode("utf-8", "replace")
