"""The model process: reads commands from one pipe, writes events to another, generates in between.

It is a process of its own because the tokenizer holds the interpreter lock and sampling is Python's own work; in the
web process /health would wait for both. Two threads: one reads commands and tokenizes, so that a prompt that does not
fit is refused and a cancel is heard while the graph runs; the other runs the decode loop, one unit of work at a time.
A third compiles the forms that answers should have, which may take seconds and hold up neither.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine import modeldir, settings
from phi4_engine.compiling import Forms
from phi4_engine.errors import EX_CONFIG, ConfigurationError, EngineError
from phi4_engine.generation import JobRefusedError, Tokenizer
from phi4_engine.loop.decode import DecodeLoop, Failed, Model, Token
from phi4_engine.loop.grammar import Compiler, GrammarError, token_table
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.schedule import WHOLE_PIECE, Schedule
from phi4_engine.reading import Reader
from phi4_engine.tasks import Task, family
from phi4_engine.wire import (
    INVALID_SCHEMA,
    Alive,
    Command,
    Event,
    Finished,
    Job,
    LoadFailed,
    Ready,
    Refused,
    Started,
    Text,
    decode_command,
    encode_event,
)

BEAT_SECONDS = 1.0
_STACK = 32 * 1024 * 1024
"""Bytes of address space, of which a schema that is deep uses some; `grammar_check` has let it through with less."""
_WARM_UP = ({"role": "user", "content": "Hi"},)


class Pipes:
    """Line-wise commands in, for one thread; events out, for any. Writing blocks until it is written."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input = input_fd
        self._output = output_fd
        self._writing = threading.Lock()

    def commands(self) -> Iterator[Command]:
        """Every command as it arrives, until the other end is closed."""
        buffer = b""
        while chunk := os.read(self._input, 65_536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            yield from map(decode_command, lines)

    def send(self, *events: Event) -> None:
        """The events are in the pipe after this, in this order."""
        data = memoryview(b"".join(map(encode_event, events)))
        with self._writing:
            while data:
                data = data[os.write(self._output, data) :]


@dataclass(frozen=True)
class Backend:
    """A loaded model. At most `reuse` tokens of one prompt are used again for another, see `loop.rows`."""

    tokenizer: Tokenizer
    model: Model
    reuse: int = modeldir.SHORT_CONTEXT
    grammars: Compiler | None = None


class Worker:
    """Runs the jobs it is given. The web process decides how many run at once; what has no row yet waits for one."""

    def __init__(self, backend: Backend, pipes: Pipes, context_length: int) -> None:
        self._tokenizer = backend.tokenizer
        self._reader = Reader(backend.tokenizer, context_length)
        self._forms = Forms(backend.grammars, backend.tokenizer.vocabulary.tool_open, pipes.send)
        self._pipes = pipes
        self._context_length = context_length
        self._loop = DecodeLoop(backend.model, Rows(backend.model.cache, reuse=backend.reuse), Schedule())
        self._inbox: queue.SimpleQueue[list[list[Task]] | Command | None] = queue.SimpleQueue()
        self._tasks: dict[str, Task] = {}

    def run(self) -> None:
        """Serves until the command pipe is closed."""
        threading.stack_size(_STACK)
        threading.Thread(target=self._listen, name="commands", daemon=True).start()
        threading.Thread(target=self._forms.run, name="forms", daemon=True).start()
        spoke = time.monotonic()
        while self._obey():
            outcomes = self._loop.advance()
            events = [event for outcome in outcomes for event in self._told(outcome)]
            # After each piece of work, whatever the other thread has said meanwhile: that is no sign of work.
            if events or time.monotonic() - spoke >= BEAT_SECONDS:
                self._pipes.send(*(events or [Alive()]))
                spoke = time.monotonic()

    def _listen(self) -> None:
        """In a thread of its own: hands on what arrives, and None when nothing more can."""
        try:
            for command in self._pipes.commands():
                if command.name in ("tokenize", "encode", "spell"):
                    self._pipes.send(self._reader.answer(command))
                elif command.name == "compile":
                    self._forms.ask(command.job)
                elif command.job is not None:
                    self._begin(command.job)
                else:
                    self._inbox.put(command)
                    if command.name == "cancel":
                        self._loop.interrupt(command.id)
        except BrokenPipeError:
            return  # the web process is gone: there is nobody to tell
        finally:
            self._inbox.put(None)
            self._forms.ask(None)
            self._loop.interrupt(None)

    def _begin(self, job: Job) -> None:
        try:
            prompts = [np.array(prompt, np.int32) for prompt in self._reader.prompts(job)]
            families = [
                family(self._tokenizer, job, place, prompt, self._context_length, self._forms)
                for place, prompt in enumerate(prompts)
            ]
        except JobRefusedError as error:
            self._pipes.send(Refused(job.id, error.code, error.message, job.field))
        except GrammarError as error:
            self._pipes.send(Refused(job.id, INVALID_SCHEMA, str(error)))
        except (RuntimeError, ValueError) as error:
            self._pipes.send(Refused(job.id, "generation_failed", f"the model runtime refused the request: {error}"))
        else:
            self._pipes.send(Started(job.id, sum(map(len, prompts))))
            self._inbox.put(families)

    def _obey(self) -> bool:
        """Everything that has arrived is taken up; waits while there is nothing to do. False at the end."""
        while not self._inbox.empty() or self._loop.idle:
            found = self._inbox.get()
            if found is None:
                return False
            if isinstance(found, list):
                self._tasks |= {task.answer.id: task for tasks in found for task in tasks}
                for first, *_ in found:
                    self._loop.add(first.answer)
            elif found.name == "cancel":
                self._forget(found.id)
            elif found.name == "ping":
                self._pipes.send(Alive())
        return True

    def _forget(self, job_id: str) -> None:
        """No answer of this job goes on."""
        for name in [name for name, task in self._tasks.items() if task.job == job_id]:
            del self._tasks[name]
            self._loop.drop(name)

    def _told(self, outcome: Token | Failed) -> Iterator[Event]:
        """What the web process hears of it; an answer that is over has left the loop after this."""
        task = self._tasks.get(outcome.id)
        if task is None:
            return  # its job has failed with another answer
        if isinstance(outcome, Failed):
            self._forget(task.job)
            if outcome.form:
                yield Refused(task.job, INVALID_SCHEMA, outcome.message)
            else:
                yield Refused(task.job, "generation_failed", f"the model runtime failed: {outcome.message}")
            return
        generation = task.generation
        text, logprobs = generation.push(outcome.token, outcome.logprobs)
        count = generation.completion_tokens
        if text or generation.finished is None:
            # Also without any text: the web process counts what was generated for a client that leaves.
            yield Text(task.job, text, count, logprobs, task.index)
        if generation.finished is not None:
            del self._tasks[outcome.id]
            self._loop.drop(outcome.id)
            last = all(other.job != task.job for other in self._tasks.values())
            told = (generation.tool_text, task.answer.cached, task.index, last)
            yield Finished(task.job, generation.finished, count, *told)


def _prove(backend: Backend, context_length: int) -> float:
    """After it the model has read a prompt and decoded a token, both with real numbers.

    Returns the seconds that the largest piece of a prompt may take.

    Raises EngineError when its scores are not numbers: such a model still yields tokens, all meaningless.
    """
    prompt = np.array(backend.tokenizer.encode(_WARM_UP), np.int32)
    if len(prompt) >= context_length:
        raise EngineError(f"a context of {context_length} tokens has no room for the shortest prompt, {len(prompt)}")
    began = time.monotonic()
    for start in range(0, len(prompt), WHOLE_PIECE):
        scores = backend.model.read(0, start, prompt[start : start + WHOLE_PIECE])
    # Few tokens take more time each than many do, so that this is rather too long.
    seconds = (time.monotonic() - began) * WHOLE_PIECE / min(len(prompt), WHOLE_PIECE)
    _require_finite(scores)
    rows = len(backend.model.cache[0])
    tokens = np.full(rows, scores.argmax(), np.int32)
    _require_finite(backend.model.step(0, tokens, np.full(rows, len(prompt), np.int32)))
    return seconds


def _require_finite(scores: NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        raise EngineError("the model computes scores that are not finite numbers: its weights are damaged")


def serve(load: Callable[[], Backend], pipes: Pipes, context_length: int) -> int:
    """Loads, proves that a token can be generated, serves until the web process goes away; returns the exit status."""
    started = time.monotonic()
    try:
        backend = load()
        piece_seconds = _prove(backend, context_length)
    except ConfigurationError as error:
        pipes.send(LoadFailed(str(error)))
        return EX_CONFIG
    except (RuntimeError, ValueError, EngineError, MemoryError, ImportError) as error:
        pipes.send(LoadFailed(f"the model cannot be loaded: {_one_line(error)}"))
        return 1
    pipes.send(Ready(time.monotonic() - started, piece_seconds))
    try:
        Worker(backend, pipes, context_length).run()
    except BrokenPipeError:
        return 0  # the web process is gone: there is nobody to tell
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def take_pipes() -> Pipes:
    """The process's standard streams as command and event pipes; what libraries print goes to the log instead."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the web process decides when the worker ends
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Pipes(sys.stdin.fileno(), events)


def main() -> int:
    """Entry point of the worker process."""
    pipes = take_pipes()
    chosen = settings.load(os.environ)

    def load() -> Backend:
        from phi4_engine import repacked
        from phi4_engine.genai import GenaiTokenizer

        files = modeldir.inspect(chosen.model_dir)
        session = repacked.session(files, chosen)
        reuse = chosen.context_length if files.one_rope else modeldir.SHORT_CONTEXT
        tokenizer = GenaiTokenizer(files)
        grammars = Compiler(lambda: token_table(files, tokenizer.vocabulary.stop))
        return Backend(tokenizer, session, reuse if chosen.prefix_cache else 0, grammars)

    return serve(load, pipes, chosen.context_length)


if __name__ == "__main__":
    sys.exit(main())
