"""The stand-in for Ollama as a process on this machine, and a client that says what it heard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.standins import gguf_file, ollama_release

__all__ = ["Ollama", "gguf_file", "ollama_release", "started"]
TEMPLATE = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "hours": {"type": "array"}},
                "required": ["city", "days", "hours"],
            },
        },
    }
]


@dataclass
class Ollama:
    """A running server: its address, its directory, and shorthands for its API."""

    url: str
    models: Path
    program: Path
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return requests.request(method, self.url + path, json=body, timeout=30, **more)

    def post(self, path: str, body: Any) -> requests.Response:
        return self.ask("POST", path, body)

    def lines(self, path: str, body: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.post(path, body).text.splitlines()]

    def upload(self, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert self.ask("POST", f"/api/blobs/{digest}", data=data).status_code in (200, 201)
        return digest

    def loaded(self) -> list[str]:
        """Names of the models that are loaded, or are being loaded."""
        return [one["name"] for one in self.ask("GET", "/api/ps").json()["models"]]

    def runners(self) -> list[int]:
        """Processes that hold a model."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            # Not by `children`: that of a thread that ends while it is read has moved to another one's.
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return sorted(found)

    def log(self) -> str:
        return (self.models.parent / "log").read_text()

    def said(self, prompt: str, name: str = "tiny", **options: Any) -> dict[str, Any]:
        """The whole answer of /api/generate."""
        asked = {"model": name, "prompt": prompt, "stream": False, "options": options}
        found: dict[str, Any] = self.post("/api/generate", asked).json()
        return found

    def create(self, name: str = "tiny", shaped: bool = False, **more: Any) -> list[dict[str, Any]]:
        """Make a model from a file, with whatever else the request shall say; `shaped`: with Phi-4-mini's KV cache."""
        content = gguf_file.content(shaped=shaped)
        files = {} if "from" in more else {"files": {"model.gguf": self.upload(content)}}
        return self.lines("/api/create", {"model": name, **files, **more})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(folder: Path, **settings: str) -> Ollama:
    """A server with its own home and models, that answers."""
    port, program = free_port(), folder / "release" / "bin" / "ollama"
    if not program.exists():
        ollama_release.unpack(folder / "release")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"), **settings,
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve"], env=environment, stdout=log, stderr=log)
    found = Ollama(f"http://127.0.0.1:{port}", Path(environment["OLLAMA_MODELS"]), program, process)
    for _ in range(100):
        try:
            if found.ask("GET", "/api/version").status_code == 200:
                return found
        except requests.ConnectionError:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())
