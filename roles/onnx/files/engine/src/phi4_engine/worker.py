"""The model process: reads commands from one pipe, writes events to another, generates in between.

It is a process of its own because onnxruntime-genai holds the interpreter lock through load, prefill and every token;
in the web process /health would not answer meanwhile. One loop and no threads: between two units of work it looks at
its commands, so a cancel takes effect within one prefill chunk or one token.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable

from phi4_engine import modeldir, settings
from phi4_engine.errors import EX_CONFIG, ConfigurationError
from phi4_engine.generation import PREFILL_CHUNK, Backend, Generation, JobRefusedError
from phi4_engine.wire import (
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
    Tokenized,
    decode_command,
    encode_event,
)

BEAT_SECONDS = 1.0
_WARM_UP = Job(id="warm-up", messages=({"role": "user", "content": "Hi"},), max_tokens=1, temperature=0.0, top_p=1.0)


class Pipes:
    """Line-wise commands in, events out. Reading never blocks longer than asked; writing blocks until written."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input = input_fd
        self._output = output_fd
        self._buffer = b""
        self.closed = False
        self.last_sent = time.monotonic()

    def commands(self, *, wait: bool) -> list[Command]:
        """Everything that has arrived; with `wait`, at least one command or the end of the pipe (`closed`)."""
        found: list[Command] = []
        while not self.closed:
            block = wait and not found
            if not block and not select.select([self._input], [], [], 0)[0]:
                break
            chunk = os.read(self._input, 65_536)
            self.closed = not chunk
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            found += [decode_command(line) for line in lines]
        return found

    def send(self, event: Event) -> None:
        """The event is in the pipe after this."""
        data = memoryview(encode_event(event))
        while data:
            data = data[os.write(self._output, data) :]
        self.last_sent = time.monotonic()


class Worker:
    """Runs the jobs it is given, one unit of each in turn. The web process decides how many run at once."""

    def __init__(self, backend: Backend, pipes: Pipes, context_length: int) -> None:
        self._backend = backend
        self._pipes = pipes
        self._context_length = context_length
        self._tasks: dict[str, Generation] = {}

    def run(self) -> None:
        """Serves until the command pipe is closed."""
        while not self._pipes.closed:
            for command in self._pipes.commands(wait=not self._tasks):
                self._obey(command)
            for job_id, generation in list(self._tasks.items()):
                if self._advance(generation):
                    del self._tasks[job_id]
                # After each piece, not each round: four slow pieces in a row are no silence.
                if time.monotonic() - self._pipes.last_sent >= BEAT_SECONDS:
                    self._pipes.send(Alive())

    def _obey(self, command: Command) -> None:
        if command.name == "cancel":
            self._tasks.pop(command.id, None)
        elif command.name == "ping":
            self._pipes.send(Alive())
        elif command.name == "tokenize" and command.job is not None:
            self._tokenize(command.job)
        elif command.job is not None:
            self._begin(command.job)

    def _tokenize(self, job: Job) -> None:
        try:
            prompt = [int(token) for token in self._backend.encode(job.messages)]
        except (RuntimeError, ValueError) as error:
            self._pipes.send(Refused(job.id, "generation_failed", f"the model runtime refused the request: {error}"))
        else:
            fits = len(prompt) < self._context_length
            self._pipes.send(Tokenized(job.id, len(prompt), prompt if fits else []))

    def _begin(self, job: Job) -> None:
        try:
            generation = Generation(self._backend, job, self._context_length)
        except JobRefusedError as error:
            self._pipes.send(Refused(job.id, error.code, error.message))
        except (RuntimeError, ValueError) as error:
            self._pipes.send(Refused(job.id, "generation_failed", f"the model runtime refused the request: {error}"))
        else:
            self._tasks[job.id] = generation
            self._pipes.send(Started(job.id, generation.prompt_tokens))

    def _advance(self, generation: Generation) -> bool:
        """One unit of work, its text sent at once; true when the answer is complete."""
        try:
            text = generation.advance()
        except (RuntimeError, ValueError) as error:
            self._pipes.send(Refused(generation.id, "generation_failed", f"the model runtime failed: {error}"))
            return True
        count = generation.completion_tokens
        if text:
            self._pipes.send(Text(generation.id, text, count))
        if generation.finished is None:
            return False
        self._pipes.send(Finished(generation.id, generation.finished, count, tool_text=generation.tool_text))
        return True


def _prove(backend: Backend, context_length: int) -> float:
    """After it the model has generated one token from real numbers; returns seconds that a prefill chunk may take.

    Raises ConfigurationError when its scores are not numbers: such a model still yields tokens, all meaningless.
    """
    warm_up = Generation(backend, _WARM_UP, context_length)
    started = time.monotonic()
    while not warm_up.prefilled:
        warm_up.advance()
    # Few tokens take more time each than many do, so that this is rather too long.
    seconds = (time.monotonic() - started) * PREFILL_CHUNK / min(warm_up.prompt_tokens, PREFILL_CHUNK)
    if not warm_up.finite:
        raise ConfigurationError("the model computes scores that are not finite numbers: its weights are damaged")
    while warm_up.finished is None:
        warm_up.advance()
    return seconds


def serve(load: Callable[[], Backend], pipes: Pipes, context_length: int) -> int:
    """Loads, proves that a token can be generated, serves until the web process goes away; returns the exit status."""
    started = time.monotonic()
    try:
        backend = load()
        piece_seconds = _prove(backend, context_length)
    except ConfigurationError as error:
        pipes.send(LoadFailed(str(error)))
        return EX_CONFIG
    except (RuntimeError, ValueError, JobRefusedError, MemoryError, ImportError) as error:
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
        from phi4_engine.genai import GenaiBackend

        files = modeldir.inspect(chosen.model_dir)
        return GenaiBackend(files, context_length=chosen.context_length, threads=chosen.threads)

    return serve(load, pipes, chosen.context_length)


if __name__ == "__main__":
    sys.exit(main())
