"""Where figures come from: machine, commit, date, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from peers import ANSIBLE, PYINFRA, ROOT


def provenance() -> dict[str, Any]:
    """What belongs beside every figure; `load` is that of the minute before."""
    return {
        "machine": {
            "processor": _processor(), "arch": platform.machine(), "cores": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(), "load": round(os.getloadavg()[0], 1),
        },
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "versions": {
            "python": platform.python_version(), "ssh": _said("ssh", "-V").partition(",")[0],
            "docker": _said("docker", "version", "--format", "{{.Server.Version}}"),
            "ansible-core": importlib.metadata.version("ansible-core"),
            "paramiko": importlib.metadata.version("paramiko"),
            "peers": [ANSIBLE, PYINFRA],
        },
    }  # fmt: skip


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Short hash of the checkout, with "+" where files differ from it; "" outside one."""
    commit = _said("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "-C", str(ROOT), "status", "--porcelain", "--", "cli", "roles", "plugins", "playbooks")
    return commit + ("+" if commit and changed else "")


def _said(*words: str) -> str:
    """What a command prints; "" where it fails or is not there."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
