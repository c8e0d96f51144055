"""What can go wrong, and how it reaches a caller.

EngineError                 root: the message is one line that an operator can act on
├── ConfigurationError      settings or model directory are unusable: the process exits with EX_CONFIG
├── WorkerDiedError         the model process ended, hung or refused to load: the process exits with 1
└── ApiError                one request cannot be served: becomes an HTTP status and an OpenAI error body
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EX_CONFIG = 78
"""sysexits(3): a restart cannot help, so the unit names this status in RestartPreventExitStatus."""


class EngineError(Exception):
    """Root of every error that this engine raises on purpose."""


class ConfigurationError(EngineError, ValueError):
    """Settings or model directory are unusable; the message says found, needed and what to do."""


class WorkerDiedError(EngineError, RuntimeError):
    """The model process is gone; whoever waits for tokens will not get them."""


class ApiError(EngineError):
    """One request is refused. `status` is the HTTP status, the rest is OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type_
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """OpenAI's shape: always the four keys, null where there is nothing to say."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def unsupported(param: str, message: str) -> ApiError:
    """A feature that the request asks for and this engine does not have: said, never silently ignored."""
    return ApiError(400, message, param=param, code="unsupported_parameter")


def too_long(context_length: int, prompt_tokens: int, what: str = "messages") -> str:
    """What is said of messages, or of a prompt, that leave no room for an answer."""
    verb = "take" if what == "messages" else "takes"
    # Clients know this error by words of OpenAI's and Anthropic's messages.
    return (
        f"The prompt is too long: this model's maximum context length is {context_length} tokens, and the {what} "
        f"{verb} {prompt_tokens} tokens, which leaves none for the answer. Shorten the {what}."
    )


def too_wide(answers: int, most: int, param: str) -> ApiError:
    """One request asks for more answers than can be generated at once."""
    told = f"{answers} answers are asked for at once: this engine generates {most} at most (PHI4_PARALLEL)."
    return ApiError(400, f"{told} Ask for fewer, or send several requests.", param=param, code="invalid_value")


def not_serving(message: str, *, code: str, retry_after: int) -> ApiError:
    """The engine cannot generate right now; `retry_after` is in seconds."""
    return ApiError(503, message, type_="server_error", code=code, headers={"Retry-After": str(retry_after)})
