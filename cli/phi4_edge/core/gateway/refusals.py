"""What the gateway itself answers to requests that it does not let through, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# Both as the engines' own refusals name them.
_INVALID, _SERVER, _RATE = "invalid_request_error", "server_error", "rate_limit_error"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One answer: HTTP status, OpenAI's error object, and headers that tell clients what to do."""

    status: int
    message: str
    type: str = _INVALID
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    def body(self) -> dict[str, Any]:
        """Return the document; it always has OpenAI's four keys."""
        return {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}

    def answer(self) -> str:
        """Return it as HAProxy has it in its configuration: status, content type and body."""
        text = json.dumps(self.body())
        if "'" in text:  # nothing can stand for it within the quotes
            raise ValueError(f"found a quote in {self.message!r}, needed a message without any")
        head = f"status {self.status} content-type application/json"
        return f"{head} string '{text}'" + "".join(f' hdr {name} "{value}"' for name, value in self.headers.items())


NO_KEY = Refusal(
    401,
    "No API key was sent. Send it as Authorization: Bearer KEY.",
    headers={"WWW-Authenticate": "Bearer"},
)
WRONG_KEY = Refusal(
    401,
    "The API key is not known here, was revoked, or has expired.",
    code="invalid_api_key",
    headers={"WWW-Authenticate": "Bearer"},
)
NO_CERTIFICATE = Refusal(
    403,
    "No client certificate was sent, and this address needs one besides the key: give your client its certificate and "
    "private key.",
    code="client_certificate_required",
)
WRONG_CERTIFICATE = Refusal(
    403,
    "The client certificate is not signed by a CA that is known here, is not for clients, or is not valid now.",
    code="client_certificate_invalid",
)
OTHER_KEY = Refusal(
    403,
    "A key called metrics, or metrics-NAME, reads /metrics and nothing else, and no other key reads it.",
    code="key_not_for_this",
)
NO_ROUTE = Refusal(404, "There is no such path here. The API is below /v1.", code="not_found")
NO_METHOD = Refusal(
    405,
    "This method is not used here: send GET or POST.",
    code="method_not_allowed",
    headers={"Allow": "GET, HEAD, POST"},
)
TOO_LARGE = Refusal(413, "The request is larger than this gateway takes.", code="request_too_large")
# HAProxy counts the last minute; openai's clients wait for no longer than one either.
TOO_MANY = Refusal(
    429,
    "This key has made all the requests that it may make in a minute.",
    type=_RATE,
    code="rate_limit_exceeded",
    headers={"Retry-After": "60"},
)
TOO_MANY_AT_ONCE = Refusal(
    429,
    "This key has as many requests open as it may have at a time.",
    type=_RATE,
    code="rate_limit_exceeded",
    headers={"Retry-After": "5"},
)
QUEUE_FULL = Refusal(
    429,
    "All answers that are possible at a time are being generated, and the queue is full. Try again later.",
    type=_RATE,
    code="queue_full",
    headers={"Retry-After": "10"},
)
NOT_SERVING = Refusal(
    503,
    "The engine does not serve at the moment. Try again later.",
    type=_SERVER,
    code="engine_unavailable",
    headers={"Retry-After": "10"},
)
# What HAProxy finds by itself, each with its only status.
FOUND_BY_HAPROXY = (
    Refusal(400, "The request is no valid HTTP.", code="bad_request"),
    Refusal(408, "The request was not complete in time.", code="request_timeout"),
    Refusal(500, "The gateway failed.", type=_SERVER, code="internal_error"),
    Refusal(502, "The engine broke off its answer.", type=_SERVER, code="engine_failed"),
    Refusal(
        503,
        "The engine did not take the request in time. Try again later.",
        type=_SERVER,
        code="engine_busy",
        headers={"Retry-After": "10"},
    ),
    Refusal(504, "The engine did not answer in time.", type=_SERVER, code="engine_timeout"),
)
