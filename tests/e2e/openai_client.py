"""openai's own client in front of a gateway, as people use it: over TLS, with a key, streamed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.gateway import ROOT

# The environment of the engine's own tests has it.
PYTHON = ROOT / "build" / "engine" / "bin" / "python"
CODE = """
import json, sys
import httpx, openai
address, ca, key, text = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key=key, max_retries=0, http_client=httpx.Client(verify=ca, timeout=110))
try:
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=24, stream=True)
    print(json.dumps({"text": "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)}))
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "kind": type(error).__name__, "code": error.code}))
"""


def ask(address: str, port: int, ca: Path, key: str, text: str = "Say hello.") -> dict[str, Any]:
    """The text of an answer, or status, kind and code of a refusal."""
    argv = [PYTHON, "-c", CODE, f"https://{address}:{port}/v1", ca, key, text]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
