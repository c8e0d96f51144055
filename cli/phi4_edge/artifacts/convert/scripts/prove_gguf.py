"""Load a GGUF file in llama.cpp and really generate: `python -I prove_gguf.py '{"model": …}'`; exit 0 only when it did.

Prints a line {"proof": {"tokens": n, "text": …, "seconds": …}} among llama.cpp's own. A model that loads but yields
no token, or the same text for every prompt, is broken, whatever its file looks like.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from typing import Any

import xllamacpp  # type: ignore[import-not-found]

PROMPTS = ("What does a gateway do?", "Name one thing that a technician checks first.")
TOKENS = 5


def load(path: str) -> Any:
    """The model behind llama.cpp's own server, which listens on loopback for as long as this process lives."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = 512
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.offline = True
    parameters.port = 0
    parameters.api_keys = [secrets.token_hex(16)]
    parameters.cpuparams.n_threads = os.cpu_count() or 1
    return xllamacpp.Server(parameters)


def answer(server: Any, prompt: str) -> tuple[int, str]:
    """Number of tokens and text of the greedy answer to `prompt`, through the model's own chat template."""
    messages = [{"role": "user", "content": prompt}]
    found = server.handle_chat_completions({"messages": messages, "max_tokens": TOKENS, "temperature": 0})
    try:
        return int(found["usage"]["completion_tokens"]), str(found["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        sys.exit(f"llama.cpp does not answer but says {str(found)[:500]}")


def main(path: str) -> None:
    """Generate for two prompts and print what came out, or exit with the reason why the model is no good."""
    started = time.monotonic()
    server = load(path)
    answers = [answer(server, prompt) for prompt in PROMPTS]
    if not all(count and text.strip() for count, text in answers):
        sys.exit("the model loads but generates no token")
    if answers[0][1] == answers[1][1]:
        sys.exit(f"the model answers every prompt with {answers[0][1]!r}")
    proof = {"tokens": sum(count for count, _ in answers), "text": answers[0][1]}
    proof["seconds"] = round(time.monotonic() - started, 3)
    # A line of its own, in one piece: threads of llama.cpp write their log in pieces meanwhile.
    sys.stdout.write("\n" + json.dumps({"proof": proof}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1])["model"])
