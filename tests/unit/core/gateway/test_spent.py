"""Tokens per day from end to end: openai's client, the real HAProxy, the real engine with a stand-in for its model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import openai_client
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import CHAT, Running, free_port, key, needs_haproxy, running, token

ENGINE = Path(__file__).parents[4] / "roles" / "onnx" / "files" / "engine"
SPOOFED = {"phi4-key": "west", "phi4-tokens-per-day": "1000000"}
pytestmark = [
    pytest.mark.slow,
    needs_haproxy,
    pytest.mark.skipif(not openai_client.PYTHON.exists(), reason="needs the engine's environment (make setup)"),
]


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """The engine on a port of loopback, told to count in `folder`."""
    settings = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_PORT": str(port), "PHI4_CONTEXT_LENGTH": "400"}
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ENGINE / "src"), "PHI4_KEY_USAGE": str(folder)}
    command = [openai_client.PYTHON, ENGINE / "tests" / "fake_main.py"]
    with (folder / "engine.log").open("w") as log:
        process = subprocess.Popen(command, env={**environ, **settings}, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0, (folder / "engine.log").read_text()


def said(gateway: Running, sent: int, **fields: Any) -> dict[str, Any]:
    """The document of an answer of 5 tokens to a prompt of 50, whatever the client says of its key."""
    script = json.dumps({"say": ["abcd", "<|end|>"], "prompt_tokens": 50})
    body = {"messages": [{"role": "user", "content": script}], **fields}
    found = gateway.ask(CHAT, body, sent, **{"Content-Type": "application/json"}, **SPOOFED)
    return {"status": found.status, "retry": int(found.headers.get("retry-after", 0)), **found.document}


def test_a_key_that_has_used_its_day_is_refused_here_and_after_a_restart(tmp_path: Path) -> None:
    port, keys = free_port(), (key("north", 1, tokens_per_day=100), key("south", 2))
    pem = certificate(tmp_path)
    with served(tmp_path, port), running(tmp_path, *keys, certificate=str(pem), port=port, counts=True) as gateway:
        assert [said(gateway, 1)["usage"]["total_tokens"] for _ in range(2)] == [55, 55]
        refused = said(gateway, 1)
        assert (refused["status"], refused["error"]["code"]) == (429, "insufficient_quota")
        assert 0 < refused["retry"] <= 86_400
        assert said(gateway, 2)["status"] == 200, "another key is not held to it"
        found = openai_client.ask("localhost", gateway.gateway.port, pem, token(1))
        assert found == {"status": 429, "kind": "RateLimitError", "code": "insufficient_quota"}
        assert openai_client.ask("localhost", gateway.gateway.port, pem, token(2))["text"]
    kept = json.loads((tmp_path / "tokens.json").read_text())["tokens"]
    assert kept == {"north": 110, "south": 55 + len("Say hello.") + 24}
    with served(tmp_path, port), running(tmp_path, *keys, certificate=str(pem), port=port, counts=True) as gateway:
        assert said(gateway, 1)["error"]["type"] == "insufficient_quota"
        assert said(gateway, 2)["status"] == 200
