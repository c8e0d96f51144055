"""Stands for the sshd of a host whose root is hostile: honest up to a stage of a connection, and not from there on.

Real key exchange, authentication and channels (paramiko's server side). It keeps to the protocol where it is honest;
what it leaves out: everything that the preflight does not ask for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

HOST_KEY = paramiko.ECDSAKey.generate()
STAGES = ("banner", "kex", "auth", "channel", "exec", "output", "stderr", "status")
BEHAVIOURS = ("drip", "flood", "silence", "close", "garbage")

Send = Callable[[bytes], Any]


@dataclass
class Server(paramiko.ServerInterface):
    """Goes wrong at `stage`, in the way of `behaviour`; at "none" never.

    `asked`: when each command came. `reached`: it has begun to go wrong. `over`: the test is at its end.
    """

    stage: str = "none"
    behaviour: str = ""
    asked: dict[str, float] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    transport: paramiko.Transport | None = None

    def wrong(self, send: Send, sock: socket.socket) -> None:
        """The behaviour, until the other side ends it; `send` speaks in the layer of the stage."""
        self.reached.set()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            if self.behaviour == "close":
                sock.close()
            elif self.behaviour == "garbage":
                sock.sendall(os.urandom(4096))
                self.over.wait(30)
            while self.behaviour in ("drip", "flood") and not self.over.is_set():
                send(b"1" if self.behaviour == "drip" else b"A" * 30_000)
                self.over.wait(0.1 if self.behaviour == "drip" else 0)
            if self.behaviour == "silence":
                self.over.wait(30)

    def _here(self, stage: str) -> bool:
        """Whether this is where it goes wrong; it has done so when this returns true."""
        if self.stage != stage:
            return False
        assert self.transport is not None
        self.wrong(self._ignored, self.transport.sock)
        return True

    def _ignored(self, data: bytes) -> None:
        """A message of SSH that every client must pass over (RFC 4253, section 11.2)."""
        assert self.transport is not None
        message = paramiko.Message()
        message.add_byte(b"\x02")
        message.add_string(data)
        self.transport._send_message(message)  # type: ignore[attr-defined]

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._here("auth")
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self._here("channel")
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.asked[command.decode()] = time.monotonic()
        if not self._here("exec"):
            threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while channel.recv(4096):
                pass
            if self.stage in ("output", "stderr"):
                assert self.transport is not None
                self.wrong(channel.sendall if self.stage == "output" else channel.sendall_stderr, self.transport.sock)
                return
            channel.sendall(b"3 13\n" if "version_info" in command else b"")
            if not self._here("status"):
                channel.send_exit_status(0)
            channel.close()


def _serve(server: Server, peer: socket.socket) -> None:
    if server.stage == "banner":
        return server.wrong(peer.sendall, peer)
    if server.stage == "kex":
        peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        return server.wrong(peer.sendall, peer)
    server.transport = paramiko.Transport(peer)
    server.transport.add_server_key(HOST_KEY)
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        server.transport.start_server(server=server)
    return None


@contextlib.contextmanager
def serving(server: Server) -> Iterator[int]:
    """It answers on the port of 127.0.0.1 that this gives."""
    peers: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peers.append(peer)
            threading.Thread(target=_serve, args=(server, peer), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            if server.transport is not None:
                server.transport.close()
            for peer in peers:
                peer.close()
