"""The model process's side of the forms that answers should have: compiled in a thread, followed by the decode loop."""

from __future__ import annotations

import queue
from collections.abc import Callable

from phi4_engine.loop.grammar import Compiler, Constraint, GrammarError
from phi4_engine.wire import INVALID_SCHEMA, Compiled, Event, Job, Refused


class Forms:
    """`opens` is the token that a lazy form begins with; `tell` sends events, and raises BrokenPipeError at the end."""

    def __init__(self, compiler: Compiler | None, opens: int | None, tell: Callable[[Event], None]) -> None:
        self._compiler = compiler
        self._opens = opens
        self._tell = tell
        self._asked: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def ask(self, job: Job | None) -> None:
        """The job's form is compiled when its turn comes; None: nothing more will be asked."""
        self._asked.put(job)

    def run(self) -> None:
        """In a thread of its own, one after the other: seconds of it hold up neither commands nor answers."""
        while (job := self._asked.get()) is not None:
            try:
                self._tell(self._tried(job))
            except BrokenPipeError:
                return  # the web process is gone: there is nobody to tell

    def _tried(self, job: Job) -> Event:
        try:
            self.constraint(job)
        except GrammarError as error:
            return Refused(job.id, INVALID_SCHEMA, str(error))
        except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
            why = f"the table of this model's tokens cannot be made ({type(error).__name__})"
            return Refused(job.id, INVALID_SCHEMA, why)
        return Compiled(job.id)

    def constraint(self, job: Job) -> Constraint | None:
        """What the job's form allows, from its beginning; None for a free answer. Raises GrammarError."""
        if job.form is None:
            return None
        if self._compiler is None:
            raise GrammarError("this model has no table of its tokens")
        return self._compiler.constraint(job.form.text, self._opens if job.form.lazy else None)
