"""Directories as on a host with a pushed model, and the script that makes Ollama's store out of it.

systemd and Docker are left out: the server is a child of the test, started as the script would start it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "ollama" / "files"))
import ollamaapi
import ollamaserve

from tests.unit.standins.ollama import Ollama, gguf_file, started

TEMPLATE = (ROOT / "roles" / "ollama" / "templates" / "chat.gotmpl").read_text()
REQUESTS = [
    {"model": "base", "template": TEMPLATE, "parameters": {"stop": ["<|end|>"]}},
    {"model": "variant", "from": "base", "parameters": {"temperature": 0.1}, "system": "S"},
]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to root, as the script on a host does")


class Host:
    """Directories as on a host, with a model that was pushed."""

    def __init__(self, folder: Path, **gguf: Any) -> None:
        self.folder, self.state = folder, folder / "var"
        self.model, self.store, self.staging = (self.state / name for name in ("models/m", "stores/s", "staging"))
        self.gguf = gguf_file.write(self.model, **gguf)
        self.size = self.gguf.stat().st_size
        self.digest = hashlib.sha256(self.gguf.read_bytes()).hexdigest()
        hostlib.write_record(str(self.model), [hostlib.entry(str(self.gguf), "model.gguf")])
        self.servers: list[Ollama] = []

    def args(self, **more: Any) -> dict[str, Any]:
        places = {name: str(getattr(self, name)) for name in ("model", "store", "staging")}
        return {
            **places, "engine": str(self.folder / "release"), "image": "", "library": {}, "environment": {},
            "memory_max": 1 << 30, "requests": REQUESTS, "made": "m1", **more,
        }  # fmt: skip

    def start(self, args: dict[str, Any], fresh: str) -> Any:
        self.servers.append(started(self.folder, OLLAMA_MODELS=fresh, OLLAMA_NOPRUNE="1"))
        return ollamaapi.Api(int(self.servers[-1].url.rpartition(":")[2]))

    def stop(self) -> None:
        for server in self.servers:
            server.process.terminate()
            server.process.wait(10)


def loaded(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The host's script; nothing of this machine's systemd or Docker is asked."""
    module = load("ollama", "create")
    monkeypatch.setattr(ollamaserve, "stop", lambda: None)
    return module


def hosts(script: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    """Yields what makes the host; its servers end with the test."""
    made: list[Host] = []

    def make(**gguf: Any) -> Host:
        made.append(Host(folder, **gguf))
        monkeypatch.setattr(script, "start", made[-1].start)
        monkeypatch.setattr(script, "stop", made[-1].stop)
        return made[-1]

    yield make
    for one in made:
        one.stop()
