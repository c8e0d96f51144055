"""What tests of llama.cpp's behaviours ask with."""

from __future__ import annotations

from typing import Any

from client import Answer, Engine
from openai import OpenAI
from shapes import error

CHAT, TEXT, TOKENS, BACK = "/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"
BOOK: Any = [{"role": "system", "content": "Book"}, {"role": "user", "content": "What is the best book"}]
LIFE = "I believe the meaning of life is"
CONTEXT = 512


def ok(server: Engine, path: str, **body: Any) -> Any:
    """The body of an answer that is none of an error."""
    answer = server.post(path, body)
    assert answer.status == 200, answer.body
    return answer.json()


def chat(server: Engine, **fields: Any) -> Any:
    """A whole chat completion."""
    return ok(server, CHAT, **{"messages": BOOK, "max_tokens": 8, **fields})


def said(server: Engine, **fields: Any) -> str:
    """The text of a chat completion."""
    return str(chat(server, **fields)["choices"][0]["message"]["content"])


def text(server: Engine, **fields: Any) -> str:
    """The text of a completion."""
    return str(ok(server, TEXT, **{"prompt": LIFE, "max_tokens": 8, **fields})["choices"][0]["text"])


def refused(server: Engine, path: str = CHAT, **body: Any) -> dict[str, Any]:
    """The error of a request that cannot be answered."""
    answer: Answer = server.post(path, body)
    assert answer.status == 400, answer.body
    return error(answer)


def openai(server: Engine, prefix: str = "/v1") -> OpenAI:
    """The client; a base address without /v1 is as good."""
    return OpenAI(base_url=f"http://127.0.0.1:{server.port}{prefix}", api_key="dummy", max_retries=0, timeout=60)


def tokens(server: Engine, content: str) -> list[int]:
    """Of a text."""
    return list(ok(server, TOKENS, content=content)["tokens"])


def too_long(server: Engine, path: str, **body: Any) -> None:
    """It is refused, whole or streamed, with the numbers."""
    for stream in (False, True):
        told = refused(server, path, **body, stream=stream)
        assert told["code"] == "context_length_exceeded"
        assert f"context length is {CONTEXT} tokens" in told["message"]


def endless(server: Engine) -> dict[str, Any]:
    """What keeps the model from ending its answer before its limit."""
    return {"logit_bias": {str(token): -100 for token in tokens(server, "<|end|><|endoftext|>")}}
