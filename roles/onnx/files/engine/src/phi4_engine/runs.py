"""One admitted generation, from its place in the queue to its last token."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Self

from phi4_engine.errors import ApiError, WorkerDiedError, not_serving, too_long
from phi4_engine.forms import refused
from phi4_engine.metrics import Metrics, Now
from phi4_engine.queueing import Admission, Place
from phi4_engine.schemas import WALL_SECONDS, Schemas
from phi4_engine.supervisor import State, Supervisor
from phi4_engine.wire import INVALID_SCHEMA, Compiled, Finished, Form, Job, JobEvent, Refused, Started, Text, Tokenized

log = logging.getLogger("phi4_engine")

RETRY_WHILE_LOADING = 5
RETRY_WHILE_STALLED = 30
"""By then it goes on, or was started again."""
_CANNOT_SERVE = {
    State.LOADING: ("the model is loading", "model_loading", RETRY_WHILE_LOADING),
    State.STALLED: ("the model process does not answer", "engine_stalled", RETRY_WHILE_STALLED),
    State.DEAD: ("the model process is gone", "engine_failed", RETRY_WHILE_LOADING),
}

Events = asyncio.Queue[JobEvent | WorkerDiedError]


class Service:
    """Where routes get their answers from. `deadline_seconds`: how long one answer may be generated."""

    def __init__(
        self,
        supervisor: Supervisor,
        admission: Admission,
        metrics: Metrics,
        *,
        context_length: int,
        deadline_seconds: float,
    ) -> None:
        self.supervisor = supervisor
        self.admission = admission
        self.metrics = metrics
        self.deadline_seconds = deadline_seconds
        self._context_length = context_length
        self._tokenizing = asyncio.Lock()
        self._compiling = asyncio.Lock()
        self._schemas = Schemas()
        self._stopping = False
        self._runs: set[Run] = set()

    @property
    def state(self) -> State:
        """What /health reports; a service that is stopping takes no work and says so."""
        return State.DEAD if self._stopping else self.supervisor.state

    @property
    def active(self) -> int:
        """Answers that are being generated or waited for."""
        return len(self._runs)

    def now(self) -> Now:
        """What is true at the moment, for the metrics. A slot has room for a whole context."""
        admission = self.admission
        used = sum(run.held_tokens for run in self._runs)
        return Now(admission.running, admission.waiting, used / (admission.slots * self._context_length))

    async def open(self, job: Job, request_id: str) -> Run:
        """A run whose prompt fits and that has its place in the queue; everything that can be refused has been.

        Raises ApiError: not loaded, queue full, prompt too long, a form that cannot be had.
        """
        came = time.monotonic()
        self.require_serving()
        self.admission.check()
        if job.form is not None:
            await self._require_form(job, job.form)
        job = await self._tokenized(job)
        run = Run(self, job, self.admission.enter(), f"{job.id} ({request_id})", came)
        self._runs.add(run)
        return run

    async def _require_form(self, job: Job, form: Form) -> None:
        """Raises ApiError 400 for a form that cannot be had: by itself, or with this model's tokens."""
        await self._schemas.require(form)
        async with self._compiling:
            self.require_serving()
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    event = await checked(self.supervisor.compile(job), form)
            except TimeoutError as error:
                raise refused(form, "too complex: it takes too long to compile") from error
            finally:
                self.supervisor.cancel(job.id)
        if not isinstance(event, Compiled):
            raise _broken()

    async def _tokenized(self, job: Job) -> Job:
        """The job with its tokens; raises ApiError 400 where they leave no room for an answer.

        The model process does it, before the job has its place. In this process the tokenizer would take another
        100 MB, and hold the interpreter lock for a second over a body of 1 MiB: /health would not answer meanwhile.
        One at a time, so that those that generate have their turn in between.
        """
        async with self._tokenizing:
            self.require_serving()
            try:
                event = await checked(self.supervisor.tokenize(job))
            finally:
                self.supervisor.cancel(job.id)
        if not isinstance(event, Tokenized):
            raise _broken()
        if event.count >= self._context_length:
            message = too_long(self._context_length, event.count)
            raise ApiError(400, message, param="messages", code="context_length_exceeded")
        return replace(job, prompt=tuple(event.prompt))

    def stop_admitting(self) -> None:
        """From now on every new request gets 503; running ones go on."""
        self._stopping = True

    def abort(self) -> None:
        """Running answers end with an error event: the time to finish them is over."""
        for run in list(self._runs):
            run.abort("the service is stopping")

    def forget(self, run: Run) -> None:
        """The run is over."""
        self._runs.discard(run)

    def require_serving(self) -> None:
        """Raises ApiError 503 with what is in the way."""
        if self._stopping:
            raise not_serving("the service is stopping", code="stopping", retry_after=RETRY_WHILE_LOADING)
        if (state := self.supervisor.state) in _CANNOT_SERVE:
            message, code, seconds = _CANNOT_SERVE[state]
            raise not_serving(message, code=code, retry_after=seconds)


class Run:
    """A generation that holds its place until `close`, which every path must reach."""

    def __init__(self, service: Service, job: Job, place: Place, name: str, came: float) -> None:
        self._service = service
        self._job = job
        self._place = place
        self._events: Events = asyncio.Queue()
        self._name = name
        self._came = came
        self._began: float | None = None
        self._last_token: float | None = None
        self._failed = False
        self._closed = False
        self._tokens = 0
        self.prompt_tokens = len(job.prompt)
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def start(self) -> None:
        """The run has its slot and the worker its job. Raises ApiError where the worker cannot take it any more."""
        await self._place.turn()
        with self._failing():
            self._service.require_serving()
            self._began = time.monotonic()
            self._service.metrics.queued.observe(self._began - self._came)
            self._events = self._service.supervisor.submit(self._job)
            if not isinstance(await checked(self._events, self._job.form), Started):
                raise _broken()

    async def texts(self) -> AsyncIterator[str]:
        """The answer piece by piece; `finished` is set at the end. Raises ApiError when generation fails.

        An answer that takes too long ends there, as one does that is too long.
        """
        end = asyncio.get_running_loop().time() + self._service.deadline_seconds
        while self.finished is None:
            try:
                with self._failing():
                    async with asyncio.timeout_at(end):
                        event = await checked(self._events, self._job.form)
            except TimeoutError:
                self._service.supervisor.cancel(self._job.id)
                self.finished = Finished(self._job.id, "length", self._tokens)
                return
            if isinstance(event, Text):
                self._count(event.tokens)
                yield event.text
            elif isinstance(event, Finished):
                self.finished = event

    @property
    def held_tokens(self) -> int:
        """Tokens of the cache that it uses."""
        return 0 if self._began is None else self.prompt_tokens + self._tokens

    def _count(self, tokens: int) -> None:
        """So many tokens are there now; several come at once where their text had to wait."""
        now, metrics = time.monotonic(), self._service.metrics
        if self._last_token is None:
            metrics.first_token.observe(now - self._came)
        elif tokens > self._tokens:
            metrics.next_token.observe((now - self._last_token) / (tokens - self._tokens))
        self._last_token, self._tokens = now, tokens

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object of a finished run; the stop token counts, since it was generated."""
        completion = self.finished.completion_tokens if self.finished else 0
        cached = self.finished.cached_tokens if self.finished else 0
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What is raised in here is the end of the run, and not its client's doing."""
        try:
            yield
        except ApiError:
            self._failed = True
            raise

    def abort(self, message: str) -> None:
        """Whoever waits for this run gets an error now, and the worker stops generating."""
        self._service.supervisor.cancel(self._job.id)
        self._events.put_nowait(WorkerDiedError(message))

    def close(self) -> None:
        """The place is free and the worker generates nothing more for this run. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        now = time.monotonic()
        self._service.supervisor.cancel(self._job.id)
        self._service.forget(self)
        self._place.leave(None if self._began is None else now - self._began)
        self._record(now - self._came)
        outcome = f"{self.finished.reason} after {self.finished.completion_tokens}" if self.finished else "not finished"
        log.info("%s: %d prompt tokens, %s, %.2f s", self._name, self.prompt_tokens, outcome, now - self._came)

    def _record(self, seconds: float) -> None:
        """The run is in the metrics."""
        metrics, finished = self._service.metrics, self.finished
        metrics.ended(finished.reason if finished else "error" if self._failed else "abort")
        if self._began is not None:
            metrics.prompt_tokens += self.prompt_tokens
            metrics.cached_tokens += finished.cached_tokens if finished else 0
            metrics.answer_tokens += finished.completion_tokens if finished else self._tokens
        if finished:
            metrics.whole.observe(seconds)


async def checked(events: Events, form: Form | None = None) -> JobEvent:
    """The worker's next word on a job; raises ApiError where it is a refusal or its death."""
    event = await events.get()
    if isinstance(event, WorkerDiedError):
        raise not_serving(str(event), code="engine_failed", retry_after=RETRY_WHILE_LOADING)
    if isinstance(event, Refused):
        if event.code == "context_length_exceeded":
            raise ApiError(400, event.message, param="messages", code=event.code)
        if event.code == INVALID_SCHEMA and form is not None:
            raise refused(form, event.message)
        raise ApiError(500, event.message, type_="server_error", code=event.code)
    return event


def _broken() -> ApiError:
    return ApiError(500, "the model process broke its protocol", type_="server_error", code="engine_failed")
