"""The life of the web process: listen, load, serve, stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence

import uvicorn

from phi4_engine import app
from phi4_engine.errors import EngineError, WorkerDiedError
from phi4_engine.notify import Notifier
from phi4_engine.queueing import Admission
from phi4_engine.runs import Service
from phi4_engine.settings import Settings
from phi4_engine.supervisor import Supervisor

log = logging.getLogger("phi4_engine")

DRAIN_SECONDS = 10.0
"""After SIGTERM running answers have this long to finish; the unit's TimeoutStopSec must be longer."""


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: this module decides what a signal means."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


def listen(bind: str, port: int) -> socket.socket:
    """A bound socket; raises EngineError when the address is taken or not this host's."""
    family = socket.AF_INET6 if ipaddress.ip_address(bind).version == 6 else socket.AF_INET
    channel = socket.socket(family, socket.SOCK_STREAM)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        channel.bind((bind, port))
    except OSError as error:
        channel.close()
        raise EngineError(
            f"cannot listen on {bind} port {port} ({error.strerror}): stop what uses it or choose another PHI4_PORT"
        ) from error
    return channel


class Process:
    """Everything that runs in the web process."""

    def __init__(self, settings: Settings, command: Sequence[str], *, drain_seconds: float) -> None:
        self._settings = settings
        self._drain_seconds = drain_seconds
        self._notifier = Notifier(os.environ)
        self._supervisor = Supervisor(command, stall_seconds=settings.stall_seconds)
        self._service = Service(self._supervisor, Admission(settings.parallel, settings.queue))
        self._http = HttpServer(
            uvicorn.Config(
                app.create(settings, self._service),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=int(drain_seconds) + 5,
            )
        )

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises WorkerDiedError when the model process is gone."""
        channel = listen(self._settings.bind, self._settings.port)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        worker = asyncio.create_task(self._supervisor.run())
        http = asyncio.create_task(self._http.serve(sockets=[channel]))
        helpers = [asyncio.create_task(self._announce()), asyncio.create_task(self._feed_watchdog())]
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({worker, http, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._notifier.send("STOPPING=1")
            await self._drain(http)
        finally:
            await _end([*helpers, stop])
        died = worker.exception() if worker.done() else None
        await _end([worker])
        await self._supervisor.close()
        if died is not None:
            raise died
        if not stopping.is_set():
            raise EngineError("the HTTP server ended by itself, see the lines above")

    async def _drain(self, http: asyncio.Task[None]) -> None:
        """Nothing new comes in; running answers finish in time or are cut with an error event."""
        log.info("stopping: %d answers in progress", self._service.active)
        self._service.stop_admitting()
        self._http.should_exit = True
        await asyncio.wait({http}, timeout=self._drain_seconds)
        if not http.done():
            self._service.abort()
        await http

    async def _announce(self) -> None:
        """READY=1 once the model is loaded and the socket is served, never before."""
        await self._supervisor.ready.wait()
        while not self._http.started:
            await asyncio.sleep(0.01)
        where = f"{self._settings.bind} port {self._settings.port}"
        self._notifier.send("READY=1", f"STATUS=serving {self._settings.model_name} on {where}")
        log.info("serving %s on %s; loaded in %.1f s", self._settings.model_name, where, self._supervisor.load_seconds)

    async def _feed_watchdog(self) -> None:
        """Pings as long as this loop turns and the worker has been heard from."""
        seconds = self._notifier.watchdog_seconds
        await self._supervisor.ready.wait()
        while seconds is not None:
            if self._supervisor.silent_seconds < self._settings.stall_seconds:
                self._notifier.send("WATCHDOG=1")
            await asyncio.sleep(seconds)


def run(settings: Settings, command: Sequence[str], *, drain_seconds: float = DRAIN_SECONDS) -> None:
    """Returns after a clean stop; raises EngineError with one line that says why the service ended."""
    asyncio.run(Process(settings, command, drain_seconds=drain_seconds).run())


async def _end(tasks: Sequence[asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, WorkerDiedError):
            log.error("a background task failed", exc_info=outcome)
