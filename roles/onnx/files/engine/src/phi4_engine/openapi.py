"""The OpenAPI document of the engine, made from the models that its requests are checked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from phi4_engine import __version__
from phi4_engine.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, ReasoningRequest, TokenizeRequest
from phi4_engine.responses.request import ResponsesRequest
from phi4_engine.settings import Settings

_BODIES: Mapping[str, tuple[type[BaseModel], str]] = {
    "/v1/chat/completions": (ChatRequest, "OpenAI's chat completion, whole or as a stream"),
    "/v1/completions": (CompletionRequest, "OpenAI's older completion, whole or as a stream"),
    "/v1/responses": (ResponsesRequest, "OpenAI's response, whole or as a stream of events; nothing is stored"),
    "/tokenize": (TokenizeRequest, "The tokens of a text or of messages, as vLLM tells them"),
    "/detokenize": (DetokenizeRequest, "The text of tokens"),
    "/reasoning": (ReasoningRequest, "One answer to a prompt behind the prompt of its task"),
}
_LOOKS = {
    "/": "What this service is",
    "/health": "Whether a request would be answered",
    "/v1/models": "The one model",
    "/models": "The same",
    "/metrics": "Metrics for Prometheus",
    "/openapi.json": "This document",
}
_REFUSALS = {
    400: "Not valid, or not supported",
    403: "Host or Origin is not allowed",
    404: "Another model",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is no JSON",
    429: "The queue is full",
    500: "The model runtime failed",
    503: "The model is loading, gone, or the service is stopping",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(settings: Settings) -> dict[str, Any]:
    """OpenAPI 3.1."""
    kinds = [(kind, "validation") for kind, _ in _BODIES.values()]
    _, made = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths = {path: {"get": _operation(what)} for path, what in _LOOKS.items() if settings.metrics or path != "/metrics"}
    # Health says in its own words what is in the way.
    paths["/health"]["get"]["responses"]["503"] = {"description": "Not now"}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/v1/models/{name}"] = {"get": _operation("The model by name") | {"parameters": [name]}}
    for path, (kind, what) in _BODIES.items():
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths[path] = {"post": _operation(what) | {"requestBody": body}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Phi-4-mini ONNX Engine", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**made["$defs"], "Error": _ERROR}},
    }


def _operation(what: str) -> dict[str, Any]:
    told = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {str(status): {"description": why, "content": told} for status, why in _REFUSALS.items()}
    return {"summary": what, "responses": {"200": {"description": "Done"}, **refusals}}
