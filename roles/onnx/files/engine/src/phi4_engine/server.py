"""The life of the web process: listen, load, serve, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence

import uvicorn

from phi4_engine import app
from phi4_engine.connections import IDLE_SECONDS, Connection
from phi4_engine.cors import CrossOrigin
from phi4_engine.errors import EngineError
from phi4_engine.hosts import Gatekeeper, Hosts
from phi4_engine.key_usage import KeyUsage
from phi4_engine.limits import Limits, affordable
from phi4_engine.listening import Acceptor, listen
from phi4_engine.metrics import Metrics
from phi4_engine.notify import Notifier
from phi4_engine.observed import Observed
from phi4_engine.queueing import Admission
from phi4_engine.runs import Service
from phi4_engine.settings import Settings
from phi4_engine.supervisor import State, Supervisor

log = logging.getLogger("phi4_engine")

DRAIN_SECONDS = 10.0
"""After SIGTERM running answers have this long to finish; the unit's TimeoutStopSec must be longer."""


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers and its way to accept: this package decides what a signal means and who may
    connect.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self._limits = limits
        self._acceptors: list[Acceptor] = []
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The sockets are accepted from."""
        await self.lifespan.startup()
        self._acceptors = [Acceptor(channel, self._connection, self._limits) for channel in sockets or []]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Nothing more is accepted, and what is open ends as uvicorn ends it. What waits in systemd's socket stays."""
        for acceptor in self._acceptors:
            acceptor.close()
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state, self._limits)


class Process:
    """Everything that runs in the web process."""

    def __init__(
        self, settings: Settings, command: Sequence[str], channels: Sequence[socket.socket], *, drain_seconds: float
    ) -> None:
        self._settings = settings
        self._channels = list(channels) or [listen(settings.bind, settings.port)]
        self._drain_seconds = drain_seconds
        self._notifier = Notifier(os.environ)
        self._supervisor = Supervisor(command)
        metrics = Metrics(settings.model_name)
        self._keys = KeyUsage(settings.key_usage)
        self._service = Service(
            self._supervisor,
            Admission(settings.parallel, settings.queue),
            metrics,
            self._keys,
            context_length=settings.context_length,
            deadline_seconds=settings.deadline_seconds,
        )
        bound = (settings.bind, *(str(channel.getsockname()[0]) for channel in self._channels))
        pages = CrossOrigin(app.create(settings, self._service), settings.cors_origins)
        ours = Gatekeeper(pages, Hosts(bound, settings.allowed_hosts, settings.cors_origins))
        self._http = HttpServer(
            uvicorn.Config(
                Observed(ours, metrics),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=int(drain_seconds) + 5,
            ),
            Limits(affordable(settings.connections)),
        )

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises EngineError when the model process is gone."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        worker = asyncio.create_task(self._supervisor.run())
        http = asyncio.create_task(self._http.serve(sockets=self._channels))
        helpers = [asyncio.create_task(one) for one in (self._announce(), self._feed_watchdog(), self._keys.keep())]
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({worker, http, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._notifier.send("STOPPING=1")
            await self._drain(http)
        finally:
            await _end([*helpers, stop])
        self._keys.close()
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
        """Pings as long as this loop turns and the worker is heard from."""
        seconds = self._notifier.watchdog_seconds
        await self._supervisor.ready.wait()
        while seconds is not None:
            if self._supervisor.state is State.READY:
                self._notifier.send("WATCHDOG=1")
            await asyncio.sleep(seconds)


def run(
    settings: Settings,
    command: Sequence[str],
    channels: Sequence[socket.socket] = (),
    *,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Returns after a clean stop; raises EngineError with one line that says why the service ended.

    `channels` are the listening sockets that systemd handed over; without any it listens where the settings say.
    """
    # It would write a line for each request that is no HTTP, as fast as anybody sends them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    asyncio.run(Process(settings, command, channels, drain_seconds=drain_seconds).run())


async def _end(tasks: Sequence[asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, EngineError):
            log.error("a background task failed", exc_info=outcome)
