"""What the gate asks over HTTP of any engine: the list of its models, one generation."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

from hostlib import Json
from hostrun import clean

# Between two looks, the first and the last ones. Most engines start within a second; a look costs a weak board 50 ms.
FIRST_SECONDS, POLL_SECONDS = 0.1, 0.5
PROMPT = "Say hello."


class StepError(Exception):
    """One step of the gate did not pass."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class BusyError(StepError):
    """The engine said that it has no room for one more request just now: a sign of life."""


class Pauses:
    """Pauses between two looks at what starts: short ones at first."""

    def __init__(self) -> None:
        self.seconds = FIRST_SECONDS

    def rest(self) -> None:
        """One pause."""
        time.sleep(min(self.seconds, POLL_SECONDS))
        self.seconds *= 1.5


def ask(
    args: Json, method: str, path: str, body: Any = None, seconds: float = 10.0, plain: bool = False
) -> tuple[int, Any]:
    """Status and JSON document of one request; `plain`: its text, whatever it is.

    Raises OSError or ValueError when there is none.
    """
    connection = http.client.HTTPConnection(args["address"], args["port"], timeout=max(seconds, 0.1))
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        answer = response.read(1 << 20).decode("utf-8", "replace")
        return response.status, answer if plain else json.loads(answer)
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from None
    finally:
        connection.close()


def same(found: str, wanted: str) -> bool:
    """True for the wanted model's name as the engine lists it; Ollama adds a tag to a name without one."""
    return found in (wanted, f"{wanted}:latest")


def listed(args: Json) -> None:
    """/v1/models names the planned model."""
    try:
        status, report = ask(args, "GET", "/v1/models")
        names = [str(model["id"]) for model in report["data"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError("model", f"/v1/models has no list of models: {error}") from None
    if status != 200 or not any(same(name, args["model"]) for name in names):
        raise StepError("model", f"found the models {clean(str(names), 200)}, needed {args['model']!r}")


def generating(args: Json) -> Json:
    """A chat completion brings at least one token of text before the deadline."""
    body = {
        "model": args["model"], "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8, "temperature": 0,
    }  # fmt: skip
    start = time.monotonic()
    try:
        status, report = ask(args, "POST", "/v1/chat/completions", body, args["generation_seconds"])
    except (OSError, ValueError) as error:
        raise StepError("generation", f"no answer to a prompt within {args['generation_seconds']} s: {error}") from None
    try:
        text, tokens = report["choices"][0]["message"]["content"], int(report["usage"]["completion_tokens"])
    except (LookupError, TypeError, ValueError):
        kind = BusyError if status in (429, 503) else StepError
        raise kind("generation", f"status {status}, {clean(json.dumps(report), 500)}") from None
    if status != 200 or tokens < 1 or not isinstance(text, str) or not text:
        raise StepError("generation", f"the model generated no text: status {status}, {tokens} tokens")
    return {"tokens": tokens, "seconds": round(time.monotonic() - start, 2)}


def page(place: Json) -> str:
    """Why the chat page at `place` does not answer, or ""."""
    try:
        status, _text = ask(place, "GET", "/health", plain=True)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if status == 200 else f"status {status}"
