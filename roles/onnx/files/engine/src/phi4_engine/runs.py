"""One admitted generation, from its place in the queue to its last token."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from phi4_engine.asking import RETRY_WHILE_LOADING, Asking, Events, broken, checked
from phi4_engine.errors import ApiError, WorkerDiedError, not_serving, too_wide
from phi4_engine.key_usage import Caller, KeyUsage
from phi4_engine.metrics import Metrics, Now
from phi4_engine.queueing import Admission, Place
from phi4_engine.supervisor import State, Supervisor
from phi4_engine.wire import Finished, Job, Started, Text

log = logging.getLogger("phi4_engine")

RETRY_WHILE_STALLED = 30
"""By then it goes on, or was started again."""
_CANNOT_SERVE = {
    State.LOADING: ("the model is loading", "model_loading", RETRY_WHILE_LOADING),
    State.STALLED: ("the model process does not answer", "engine_stalled", RETRY_WHILE_STALLED),
    State.DEAD: ("the model process is gone", "engine_failed", RETRY_WHILE_LOADING),
}


class Service:
    """Where routes get their answers from. `deadline_seconds`: how long one answer may be generated."""

    def __init__(
        self,
        supervisor: Supervisor,
        admission: Admission,
        metrics: Metrics,
        keys: KeyUsage,
        *,
        context_length: int,
        deadline_seconds: float,
    ) -> None:
        self.supervisor = supervisor
        self.admission = admission
        self.metrics = metrics
        self.keys = keys
        self.deadline_seconds = deadline_seconds
        self._context_length = context_length
        self.asking = Asking(supervisor, self.require_serving, context_length)
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

    async def open(self, job: Job, request_id: str, who: Caller | None = None) -> Run:
        """A run whose prompt fits and that has its place in the queue; everything that can be refused has been.

        Raises ApiError: not loaded, queue full, prompt too long, a form that cannot be had, more answers than can be
        generated at once, the key's tokens of the day are used.
        """
        came = time.monotonic()
        if job.width > self.admission.slots:
            raise too_wide(job.width, self.admission.slots, "n" if job.n > 1 else "prompt")
        self.require_serving()
        self.keys.require(who)
        self.admission.check(job.width)
        if job.form is not None:
            await self.asking.require_form(job, job.form)
        job = await self.asking.tokenized(job)
        run = Run(self, job, self.admission.enter(job.width), f"{job.id} ({request_id})", came, who)
        self._runs.add(run)
        return run

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
    """A generation, of one answer or several, that holds its place until `close`, which every path must reach."""

    def __init__(
        self, service: Service, job: Job, place: Place, name: str, came: float, who: Caller | None = None
    ) -> None:
        self._service = service
        self._job = job
        self._place = place
        self._events: Events = asyncio.Queue()
        self._name = name
        self._came = came
        self._who = who
        self._began: float | None = None
        self._last_token: dict[int, float] = {}
        self._failed = False
        self._closed = False
        self._tokens = [0] * job.width
        self.width = job.width
        self.prompt_tokens = sum(map(len, job.prompts))
        self.finished: dict[int, Finished] = {}
        """The answers that are over, by index."""

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
                raise broken()
            self._service.keys.add(self._who, self.prompt_tokens)

    async def pieces(self) -> AsyncIterator[Text | Finished]:
        """The answers piece by piece, and the end of each. Raises ApiError when generation fails.

        An answer that takes too long ends there, as one does that is too long.
        """
        end = asyncio.get_running_loop().time() + self._service.deadline_seconds
        while len(self.finished) < self.width:
            try:
                with self._failing():
                    async with asyncio.timeout_at(end):
                        event = await checked(self._events, self._job.form)
            except TimeoutError:
                self._service.supervisor.cancel(self._job.id)
                for index in set(range(self.width)).difference(self.finished):
                    self.finished[index] = Finished(self._job.id, "length", self._tokens[index], index=index)
                    yield self.finished[index]
                return
            if isinstance(event, Text):
                self._count(event)
                if event.text:
                    yield event
            elif isinstance(event, Finished):
                self._use(event.index, event.completion_tokens)
                self.finished[event.index] = event
                yield event

    @property
    def tells_logprobs(self) -> bool:
        """Whether the request asked for them."""
        return self._job.logprobs is not None

    @property
    def held_tokens(self) -> int:
        """Tokens of the cache that it uses."""
        return 0 if self._began is None else self._job.n * self.prompt_tokens + sum(self._tokens)

    def _count(self, piece: Text) -> None:
        """So many tokens are there now; several come at once where their text had to wait."""
        now, metrics, before = time.monotonic(), self._service.metrics, self._tokens[piece.index]
        if not self._last_token:
            metrics.first_token.observe(now - self._came)
        elif piece.index in self._last_token and piece.tokens > before:
            metrics.next_token.observe((now - self._last_token[piece.index]) / (piece.tokens - before))
        self._last_token[piece.index] = now
        self._use(piece.index, piece.tokens)

    def _use(self, index: int, tokens: int) -> None:
        """The answer has so many tokens now, and its key has used those that are new."""
        self._service.keys.add(self._who, tokens - self._tokens[index])
        self._tokens[index] = tokens

    @property
    def _cached(self) -> int:
        """Tokens of the prompts that were there already. A prompt counts once, however many answers it has."""
        return sum(one.cached_tokens for one in self.finished.values() if one.index % self._job.n == 0)

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object of a finished run; the stop token counts, since it was generated."""
        completion = sum(one.completion_tokens for one in self.finished.values())
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": self._cached},
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
        outcome = ", ".join(
            f"{one.reason} after {one.completion_tokens}" if one else "not finished"
            for one in map(self.finished.get, range(self.width))
        )
        log.info("%s: %d prompt tokens, %s, %.2f s", self._name, self.prompt_tokens, outcome, now - self._came)

    def _record(self, seconds: float) -> None:
        """The run is in the metrics."""
        metrics = self._service.metrics
        for one, tokens in zip(map(self.finished.get, range(self.width)), self._tokens, strict=True):
            metrics.ended(one.reason if one else "error" if self._failed else "abort")
            if self._began is not None:
                metrics.answer_tokens += one.completion_tokens if one else tokens
        if self._began is not None:
            metrics.prompt_tokens += self.prompt_tokens
            metrics.cached_tokens += self._cached
        if len(self.finished) == self.width:
            metrics.whole.observe(seconds)
