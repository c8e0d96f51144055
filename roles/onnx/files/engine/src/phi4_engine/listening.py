"""Listening sockets: systemd's or our own, and the loop that accepts from them.

Not asyncio's: that one goes on accepting after the last free file, schedules itself anew for each failure, and starves
everything else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from phi4_engine.errors import EngineError
from phi4_engine.limits import Limits, Rare

BACKLOG = 1024
"""Connections that wait in the kernel; it holds them to its own net.core.somaxconn."""
BATCH = 16
"""Connections accepted in one turn of the loop, so that those that end have their turn too."""
PAUSE_SECONDS = 0.1


def listen(bind: str, port: int) -> socket.socket:
    """A listening socket of our own; raises EngineError when the address is taken or not this host's."""
    family = socket.AF_INET6 if ipaddress.ip_address(bind).version == 6 else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named.
    channel = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        channel.bind((bind, port))
        channel.listen(BACKLOG)
    except OSError as error:
        channel.close()
        raise EngineError(
            f"cannot listen on {bind} port {port} ({error.strerror}): stop what uses it or choose another PHI4_PORT"
        ) from error
    return channel


class Acceptor:
    """Accepts from one listening socket until it is closed."""

    def __init__(self, channel: socket.socket, protocol: Callable[[], asyncio.Protocol], limits: Limits) -> None:
        self._channel = channel
        self._protocol = protocol
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self._failed = Rare("%d connections could not be accepted in the last while: %s")
        channel.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Nothing more is accepted; the socket itself is the caller's."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._channel)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._channel, self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                client, _address = self._channel.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file or memory is left, here or on the whole host
                self._failed.log(error.strerror)
                self._limits.shed(BATCH)
                self._loop.remove_reader(self._channel)
                self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._connect(client))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _connect(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except OSError as error:  # it left before it was looked at
            client.close()
            self._failed.log(error.strerror)
