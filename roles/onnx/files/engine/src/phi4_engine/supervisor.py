"""The web process's side of the model process: starts it, talks to it, notices when it dies or hangs.

A dead or hung worker is not restarted here. The process ends with a status and systemd (or the container engine)
starts it anew: one supervisor that counts restarts, delays them and shows them, instead of two that hide each other's
work. Whoever watches the unit sees a crash loop as such.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from enum import Enum

from phi4_engine.errors import EX_CONFIG, ConfigurationError, WorkerDiedError
from phi4_engine.pulse import Pulse
from phi4_engine.wire import (
    MAX_LINE,
    Alive,
    Command,
    Compiled,
    Event,
    Finished,
    Job,
    JobEvent,
    LoadFailed,
    Ready,
    Refused,
    Spelt,
    Started,
    Text,
    Tokenized,
    decode_event,
    encode_command,
)

HUGE_PAGES = "glibc.malloc.hugetlb"
"""Each step reads all weights: in pages of 4 KiB it spends a tenth of its time on where they are (measured, mid shape).

With 1, glibc 2.35 and newer ask for larger ones where the system leaves that to programs; older ones ignore it. What an
operator says of it counts.
"""
PING_SECONDS = 2.0
"""An idle worker answers each ping; a working one is heard after each piece of its work."""


class State(Enum):
    """What the model process is doing; the value is what /health says."""

    LOADING = "loading"
    READY = "healthy"
    STALLED = "stalled"
    DEAD = "unhealthy"


def worker_command(module: str = "phi4_engine.worker") -> list[str]:
    """The same interpreter, as isolated from its surroundings as this process is."""
    isolated = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *isolated, "-m", module]


def surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the worker: no reports to onnxruntime's maker, and weights in huge pages."""
    tunables = [one for one in environ.get("GLIBC_TUNABLES", "").split(":") if one]
    if not any(one.startswith(HUGE_PAGES) for one in tunables):
        tunables.append(f"{HUGE_PAGES}=1")
    return {**environ, "ORT_DISABLE_TELEMETRY": "1", "GLIBC_TUNABLES": ":".join(tunables)}


class Supervisor:
    """One worker process, from start to end."""

    def __init__(self, command: Sequence[str], pulse: Pulse | None = None) -> None:
        self._command = tuple(command)
        self._pulse = pulse or Pulse()
        self._process: Process | None = None
        self._jobs: dict[str, asyncio.Queue[JobEvent | WorkerDiedError]] = {}
        self._load_error: str | None = None
        self._state = State.LOADING
        self.ready = asyncio.Event()
        self.load_seconds = 0.0

    async def run(self) -> None:
        """Starts the worker and follows it; raises WorkerDiedError when it is gone, whatever the cause.

        Raises ConfigurationError instead when the worker says that a restart cannot help.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE, env=surroundings(os.environ)
        )
        pinger = asyncio.create_task(self._keep_pinging(self._process))
        hung = False
        try:
            hung = not await self._follow(self._process, pinger)
        finally:
            self._state = State.DEAD
            pinger.cancel()
            if self._process.returncode is None and hung:
                self._process.kill()
        error = WorkerDiedError(await self._post_mortem(self._process, hung))
        for queue in self._jobs.values():
            queue.put_nowait(error)
        if self._load_error is not None and self._process.returncode == EX_CONFIG:
            raise ConfigurationError(self._load_error)
        raise error

    def submit(self, job: Job) -> asyncio.Queue[JobEvent | WorkerDiedError]:
        """Hands a job to the worker. The queue yields Started, then Text… and Finished of each answer, or Refused,
        or the worker's death.

        It holds at most one event per token of each context: a client that does not read costs little, blocks nobody.
        """
        return self.ask(Command("generate", job.id, job))

    def ask(self, command: Command) -> asyncio.Queue[JobEvent | WorkerDiedError]:
        """Gives the worker a command that it answers. The queue yields its events, or the worker's death."""
        queue: asyncio.Queue[JobEvent | WorkerDiedError] = asyncio.Queue()
        if not self._jobs:
            self._pulse.begins()
        self._jobs[command.id] = queue
        self._send(command)
        return queue

    def cancel(self, job_id: str) -> None:
        """The job generates nothing more; without effect on one that is over."""
        if self._jobs.pop(job_id, None) is not None:
            self._send(Command("cancel", job_id))

    async def close(self) -> None:
        """The worker is gone. It is killed: it holds nothing but memory, and in a load or prefill it hears nothing."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    @property
    def state(self) -> State:
        """What the worker is doing now."""
        return State.STALLED if self._state is State.READY and self._pulse.stalled else self._state

    async def _follow(self, process: Process, pinger: asyncio.Task[None]) -> bool:
        """True when the worker closed its pipe, False when it hangs."""
        assert process.stdout is not None  # noqa: S101 - it was created with PIPE
        while True:
            reading = asyncio.ensure_future(process.stdout.readline())
            await asyncio.wait({reading, pinger}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                return False
            line = reading.result()
            if not line:
                return True
            event = decode_event(line)
            if not isinstance(event, Tokenized | Spelt | Compiled | Started):
                # Other threads say these, and go on where the decode loop hangs.
                self._pulse.heard(working=bool(self._jobs))
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        match event:
            case Ready(seconds=seconds, piece_seconds=piece):
                self._pulse.learn(piece)
                self._state, self.load_seconds = State.READY, seconds
                self.ready.set()
            case LoadFailed(message=message):
                self._load_error = message
            case (
                Tokenized(id=job_id)
                | Spelt(id=job_id)
                | Compiled(id=job_id)
                | Finished(id=job_id, last=True)
                | Refused(id=job_id)
            ):
                queue = self._jobs.pop(job_id, None)
                if queue is not None:
                    queue.put_nowait(event)
            case Started(id=job_id) | Text(id=job_id) | Finished(id=job_id):
                if job_id in self._jobs:
                    self._jobs[job_id].put_nowait(event)
            case Alive():
                return

    async def _keep_pinging(self, process: Process) -> None:
        """Returns when a loaded worker has been silent too long. Loading is bounded by the unit's start timeout."""
        await self.ready.wait()
        looks = 0
        # Twice in a row: where this process stood still itself, what the worker said meanwhile waits to be read.
        while looks < 2:
            self._send(Command("ping"))
            await asyncio.sleep(min(PING_SECONDS, self._pulse.limit / 8))
            looks = looks + 1 if self._pulse.hung else 0

    def _send(self, command: Command) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(encode_command(command))

    async def _post_mortem(self, process: Process, hung: bool) -> str:
        await process.wait()
        if self._load_error is not None:
            return self._load_error
        if hung:
            return f"the model process said nothing for {self._pulse.limit:.0f} s and was killed"
        phase = "while serving" if self.ready.is_set() else "while loading the model"
        return f"the model process ended {phase}: {_cause(process.returncode or 0)}"


def _cause(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}, see the lines above"
    name = signal.Signals(-returncode).name
    if name == "SIGKILL":
        return "SIGKILL, most likely out of memory: compare the unit's MemoryMax with the plan"
    return f"{name}, see the lines above"
