"""The routes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from phi4_engine import answers, chat, completions, openapi
from phi4_engine.completions import CompletionEnvelope
from phi4_engine.errors import ApiError
from phi4_engine.metrics import CONTENT_TYPE
from phi4_engine.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    ReasoningRequest,
    Sampled,
    TokenizeRequest,
)
from phi4_engine.responses.envelope import ResponseEnvelope
from phi4_engine.responses.request import ResponsesRequest, response_job
from phi4_engine.runs import Run, Service
from phi4_engine.settings import Settings
from phi4_engine.supervisor import State
from phi4_engine.transport import Bodies, ClientGoneError, EventStream, read_body, unless_gone
from phi4_engine.wire import Job

PHI = "phi-4-mini-instruct"
_CAPABILITIES = ["reasoning", "math", "coding"]
_DESCRIBED = ["mathematical reasoning", "code generation", "logical problem solving"]
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; it is logged by nobody and read by nobody."""


class Routes:
    """Every endpoint, bound to one service."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._created = int(time.time())
        self._bodies = Bodies()

    async def root(self, _: Request) -> Response:
        """What this is and where to go from here."""
        name = self._settings.model_name
        body = {
            "name": "Phi-4-mini ONNX Engine",
            "model": f"microsoft/{PHI.capitalize()}" if name == PHI else name,
            "endpoints": [
                "/reasoning",
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/responses",
                "/v1/models",
                "/health",
            ],
            "capabilities": _DESCRIBED,
        }
        return JSONResponse(body)

    async def health(self, _: Request) -> Response:
        """200 when a request would be answered, 503 otherwise."""
        state = self._service.state
        body = {
            "status": state.value,
            "model": self._settings.model_name,
            "capabilities": _CAPABILITIES,
            "release": self._settings.release,
        }
        return JSONResponse(body, status_code=200 if state is State.READY else 503)

    async def metrics(self, _: Request) -> Response:
        """What the engine has counted, for Prometheus."""
        it = self._service
        return PlainTextResponse(it.metrics.text(it.now(), it.keys.tokens), media_type=CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        """What may be asked, for programs that read it."""
        return JSONResponse(openapi.document(self._settings))

    async def models(self, _: Request) -> Response:
        """The one model, also while it is loading: clients check their connection here."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """The model by name."""
        self._require_model(request.path_params["name"])
        return JSONResponse(self._model())

    async def chat_completions(self, request: Request) -> Response:
        """OpenAI's chat completion, whole or as a stream."""
        body = await read_body(request, ChatRequest, self._bodies)
        self._require_model(body.model)
        answer_id = f"chatcmpl-{uuid.uuid4().hex}"
        settings = self._settings
        envelope = answers.ChatEnvelope(answer_id, settings.model_name, settings.release, chat.wish(body))
        return await self._answered(request, body, chat.chat_job(body, answer_id, settings.max_tokens), envelope)

    async def completions(self, request: Request) -> Response:
        """OpenAI's older completion, whole or as a stream."""
        body = await read_body(request, CompletionRequest, self._bodies)
        self._require_model(body.model)
        answer_id = f"cmpl-{uuid.uuid4().hex}"
        envelope = CompletionEnvelope(answer_id, self._settings.model_name, self._settings.release)
        return await self._answered(request, body, completions.job(body, answer_id), envelope)

    async def responses(self, request: Request) -> Response:
        """OpenAI's response, whole or as a stream of events."""
        body = await read_body(request, ResponsesRequest, self._bodies)
        self._require_model(body.model)
        answer_id = f"resp_{uuid.uuid4().hex}"
        job = response_job(body, answer_id, self._settings.max_tokens)
        envelope = ResponseEnvelope(body, answer_id, self._settings.model_name, self._settings.max_tokens)
        return await self._answered(request, body, job, envelope)

    async def _answered(self, request: Request, body: Sampled, job: Job, envelope: answers.Envelope) -> Response:
        """The answers to a job in their envelope."""
        run = await unless_gone(request, self._open(request, job))
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return EventStream(run, answers.sse(run, envelope, include_usage=usage))
        async with run:
            contents = await unless_gone(request, answers.collect(run))
            return JSONResponse(envelope.whole(contents, run))

    def _open(self, request: Request, job: Job) -> Coroutine[Any, Any, Run]:
        return self._service.open(job, request.state.request_id, self._service.keys.caller(request.headers))

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text, or of messages in the chat template, as vLLM tells them."""
        body = await read_body(request, TokenizeRequest, self._bodies)
        self._require_model(body.model)
        name = f"tokenize-{uuid.uuid4().hex}"
        tokens = await unless_gone(request, self._service.asking.encode(completions.tokens_job(body, name)))
        spelt = await unless_gone(request, self._service.asking.spell(name, tokens)) if body.return_token_strs else None
        told = {
            "count": len(tokens),
            "max_model_len": self._settings.context_length,
            "tokens": tokens,
            "token_strs": spelt.words if spelt else None,
        }
        return JSONResponse(told)

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens, special ones included, under vLLM's name and llama.cpp's."""
        body = await read_body(request, DetokenizeRequest, self._bodies)
        self._require_model(body.model)
        name = f"detokenize-{uuid.uuid4().hex}"
        spelt = await unless_gone(request, self._service.asking.spell(name, body.tokens))
        return JSONResponse({"prompt": spelt.text, "content": spelt.text})

    async def reasoning(self, request: Request) -> Response:
        """The task's prompt before the caller's, one answer."""
        body = await read_body(request, ReasoningRequest, self._bodies)
        started = time.monotonic()
        job = chat.reasoning_job(body, f"reasoning-{uuid.uuid4().hex}")
        async with await unless_gone(request, self._open(request, job)) as run:
            [content] = await unless_gone(request, answers.collect(run))
        name = self._settings.model_name
        told = {
            "generated_text": content.text,
            "task_type": body.task_type,
            "inference_time": round(time.monotonic() - started, 4),
            "model": "phi4-mini-instruct-onnx" if name == PHI else f"{name}-onnx",
        }
        return JSONResponse(told)

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._settings.model_name,
            "object": "model",
            "created": self._created,
            "owned_by": "microsoft" if self._settings.model_name == PHI else "phi4-edge",
            "max_model_len": self._settings.context_length,
        }

    def _require_model(self, name: str | None) -> None:
        """Raises ApiError 404 for another model; none is this one."""
        if name not in (None, self._settings.model_name):
            raise ApiError(
                404,
                f"the model {str(name)[:100]!r} is not served here: use {self._settings.model_name!r}",
                param="model",
                code="model_not_found",
            )


def create(settings: Settings, service: Service) -> Starlette:
    """The application. On Starlette alone: bodies are read and checked by `read_body`, within limits, and importing
    FastAPI took as long as everything else in a start."""
    routes = Routes(settings, service)
    looks = {
        "/": routes.root,
        "/health": routes.health,
        "/openapi.json": routes.openapi,
        "/v1/models": routes.models,
        "/models": routes.models,
        "/v1/models/{name}": routes.model,
    }
    if settings.metrics:
        looks["/metrics"] = routes.metrics
    asks = {"/tokenize": routes.tokenize, "/detokenize": routes.detokenize, "/reasoning": routes.reasoning}
    # Also for clients whose base address ends without /v1, as llama.cpp's may.
    for prefix in ("/v1", ""):
        asks[f"{prefix}/chat/completions"] = routes.chat_completions
        asks[f"{prefix}/completions"] = routes.completions
        asks[f"{prefix}/responses"] = routes.responses
    return Starlette(
        routes=[
            *(Route(path, look, methods=["GET"]) for path, look in looks.items()),  # and HEAD
            *(Route(path, ask, methods=["POST"]) for path, ask in asks.items()),
        ],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientGoneError: _client_gone,
            Exception: _unexpected,
        },
    )


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class alone
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    messages = {
        404: f"there is no {request.url.path[:200]!r} here",
        405: f"{request.url.path[:200]!r} does not take {request.method[:20]}",
    }
    codes = {404: "not_found", 405: "method_not_allowed"}
    told = ApiError(
        error.status_code,
        messages.get(error.status_code, str(error.detail)),
        code=codes.get(error.status_code),
        headers=error.headers,
    )
    return JSONResponse(told.body(), status_code=told.status, headers=told.headers)


async def _client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _unexpected(_: Request, __: Exception) -> Response:
    """The traceback goes to the log; the client learns no internals."""
    told = ApiError(500, "internal error, see the service's log", type_="server_error", code="internal_error")
    return JSONResponse(told.body(), status_code=500)
