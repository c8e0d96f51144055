"""What the model process is asked about a request that has no place yet: its tokens, whether its form can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from phi4_engine.errors import ApiError, WorkerDiedError, not_serving, too_long
from phi4_engine.forms import refused
from phi4_engine.schemas import WALL_SECONDS, Schemas
from phi4_engine.supervisor import Supervisor
from phi4_engine.wire import INVALID_SCHEMA, Command, Compiled, Form, Job, JobEvent, Refused, Spelt, Tokenized

RETRY_WHILE_LOADING = 5
"""Seconds after which a client may try again."""

Events = asyncio.Queue[JobEvent | WorkerDiedError]


class Asking:
    """One question at a time of each kind, so that those that generate have their turn in between.

    `require_serving` raises ApiError where there is nobody to ask. In this process the tokenizer would take another
    100 MB, and hold the interpreter lock for a second over a body of 1 MiB: /health would not answer meanwhile.
    """

    def __init__(self, supervisor: Supervisor, require_serving: Callable[[], None], context_length: int) -> None:
        self._supervisor = supervisor
        self._require_serving = require_serving
        self._context_length = context_length
        self._schemas = Schemas()
        self._tokenizing = asyncio.Lock()
        self._compiling = asyncio.Lock()

    async def tokenized(self, job: Job) -> Job:
        """The job with its tokens; raises ApiError 400 where they leave no room for an answer."""
        event = await self._worked_out(Command("tokenize", job.id, job))
        if not isinstance(event, Tokenized):
            raise broken()
        if (longest := max(event.counts)) >= self._context_length:
            message = too_long(self._context_length, longest, job.field)
            raise ApiError(400, message, param=job.field, code="context_length_exceeded")
        return replace(job, prompts=tuple(map(tuple, event.prompts)), texts=())

    async def encode(self, job: Job) -> list[int]:
        """The tokens of the job's only prompt, however many. Raises ApiError."""
        event = await self._worked_out(Command("encode", job.id, job))
        if not isinstance(event, Tokenized):
            raise broken()
        return event.prompts[0]

    async def spell(self, name: str, tokens: Sequence[int]) -> Spelt:
        """What the tokens say. Raises ApiError 400 for one that the model does not have."""
        event = await self._worked_out(Command("spell", name, tokens=tuple(tokens)))
        if not isinstance(event, Spelt):
            raise broken()
        return event

    async def _worked_out(self, command: Command) -> JobEvent:
        """What the model process says to a command of its tokenizer."""
        async with self._tokenizing:
            self._require_serving()
            try:
                return await checked(self._supervisor.ask(command))
            finally:
                self._supervisor.cancel(command.id)

    async def require_form(self, job: Job, form: Form) -> None:
        """Raises ApiError 400 for a form that cannot be had: by itself, or with this model's tokens."""
        await self._schemas.require(form)
        async with self._compiling:
            self._require_serving()
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    event = await checked(self._supervisor.ask(Command("compile", job.id, job)), form)
            except TimeoutError as error:
                raise refused(form, "too complex: it takes too long to compile") from error
            finally:
                self._supervisor.cancel(job.id)
        if not isinstance(event, Compiled):
            raise broken()


async def checked(events: Events, form: Form | None = None) -> JobEvent:
    """The worker's next word on a job; raises ApiError where it is a refusal or its death."""
    event = await events.get()
    if isinstance(event, WorkerDiedError):
        raise not_serving(str(event), code="engine_failed", retry_after=RETRY_WHILE_LOADING)
    if isinstance(event, Refused):
        if event.param is not None:
            raise ApiError(400, event.message, param=event.param, code=event.code)
        if event.code == INVALID_SCHEMA and form is not None:
            raise refused(form, event.message)
        raise ApiError(500, event.message, type_="server_error", code=event.code)
    return event


def broken() -> ApiError:
    """The worker said what nobody asked for."""
    return ApiError(500, "the model process broke its protocol", type_="server_error", code="engine_failed")
