"""One admitted generation, from its place in the queue to its last token."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Self

from phi4_engine.errors import ApiError, WorkerDiedError, not_serving
from phi4_engine.queueing import Admission
from phi4_engine.supervisor import State, Supervisor
from phi4_engine.wire import Finished, Job, JobEvent, Refused, Started, Text

log = logging.getLogger("phi4_engine")

RETRY_WHILE_LOADING = 5


class Service:
    """Where routes get their answers from."""

    def __init__(self, supervisor: Supervisor, admission: Admission) -> None:
        self.supervisor = supervisor
        self.admission = admission
        self._stopping = False
        self._runs: set[Run] = set()

    @property
    def state(self) -> State:
        """What /health reports; a service that is stopping takes no work and says so."""
        return State.DEAD if self._stopping else self.supervisor.state

    @property
    def active(self) -> int:
        """Answers that are being generated."""
        return len(self._runs)

    async def open(self, job: Job) -> Run:
        """A run whose prompt has been accepted. Raises ApiError: not loaded, queue full, prompt too long."""
        self._require_serving()
        await self.admission.acquire()
        run = Run(self, job)
        self._runs.add(run)
        try:
            self._require_serving()
            await run.start()
        except BaseException:
            run.close()
            raise
        return run

    def stop_admitting(self) -> None:
        """From now on every new request gets 503; running ones go on."""
        self._stopping = True

    def abort(self) -> None:
        """Running answers end with an error event: the time to finish them is over."""
        for run in list(self._runs):
            run.abort("the service is stopping")

    def forget(self, run: Run, seconds: float) -> None:
        """The run is over; its slot is free."""
        if run in self._runs:
            self._runs.remove(run)
            self.admission.release(seconds)

    def _require_serving(self) -> None:
        if self._stopping:
            raise not_serving("the service is stopping", code="stopping", retry_after=RETRY_WHILE_LOADING)
        if self.supervisor.state is State.LOADING:
            raise not_serving("the model is loading", code="model_loading", retry_after=RETRY_WHILE_LOADING)
        if self.supervisor.state is State.DEAD:
            raise not_serving("the model process is gone", code="engine_failed", retry_after=RETRY_WHILE_LOADING)


class Run:
    """A generation that holds a slot until `close`, which every path must reach."""

    def __init__(self, service: Service, job: Job) -> None:
        self._service = service
        self._job = job
        self._events: asyncio.Queue[JobEvent | WorkerDiedError] = asyncio.Queue()
        self._began = time.monotonic()
        self._closed = False
        self.prompt_tokens = 0
        self.finished: Finished | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def start(self) -> None:
        """The prompt is tokenized and fits; raises ApiError 400 where it does not."""
        self._events = self._service.supervisor.submit(self._job)
        event = await self._next()
        if not isinstance(event, Started):
            raise ApiError(500, "the model process broke its protocol", type_="server_error", code="engine_failed")
        self.prompt_tokens = event.prompt_tokens

    async def texts(self) -> AsyncIterator[str]:
        """The answer piece by piece; `finished` is set at the end. Raises ApiError when generation fails."""
        while self.finished is None:
            event = await self._next()
            if isinstance(event, Text):
                yield event.text
            elif isinstance(event, Finished):
                self.finished = event

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

    def abort(self, message: str) -> None:
        """Whoever waits for this run gets an error now, and the worker stops generating."""
        self._service.supervisor.cancel(self._job.id)
        self._events.put_nowait(WorkerDiedError(message))

    def close(self) -> None:
        """The slot is free and the worker generates nothing more for this run. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        seconds = time.monotonic() - self._began
        self._service.supervisor.cancel(self._job.id)
        self._service.forget(self, seconds)
        outcome = f"{self.finished.reason} after {self.finished.completion_tokens}" if self.finished else "not finished"
        log.info("%s: %d prompt tokens, %s, %.2f s", self._job.id, self.prompt_tokens, outcome, seconds)

    async def _next(self) -> JobEvent:
        event = await self._events.get()
        if isinstance(event, WorkerDiedError):
            raise not_serving(str(event), code="engine_failed", retry_after=RETRY_WHILE_LOADING)
        if isinstance(event, Refused):
            if event.code == "context_length_exceeded":
                raise ApiError(400, event.message, param="messages", code=event.code)
            raise ApiError(500, event.message, type_="server_error", code=event.code)
        return event
