"""Round trips of SSH connections, counted by what stands between: a relay on this machine to one lab host.

What a relay sees of an encrypted connection is who sends when. Each time that the client sends after it heard from the
host counts as one round trip. Acknowledgements that nobody waits for (an adjusted window, say) count too: the number is
an upper bound. On a far host (see far.py) what belongs to one answer arrives together.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness import BenchError

from phi4_edge.lab import Lab

# Connects and authenticates with the SSH library that we use, and does nothing more.
CONNECT = """\
import socket, sys, paramiko
transport = paramiko.Transport(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
transport.start_client(timeout=60)
transport.auth_publickey("gateway", paramiko.Ed25519Key.from_private_key_file(sys.argv[2]))
transport.close()
"""


@dataclass
class Relay:
    """Listens on `port` of this machine and relays to `there`; counts connections and round trips in them."""

    there: tuple[str, int]
    listener: socket.socket
    connections: int = 0
    trips: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def reset(self) -> None:
        """From now on; connections that were open have ended by themselves."""
        self.connections = self.trips = 0

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # the listener was closed: the end
                return
            self.connections += 1
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.there, timeout=30) as host:
            host.settimeout(None)
            for one in (client, host):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
                ready.register(client, selectors.EVENT_READ, host)
                ready.register(host, selectors.EVENT_READ, client)
                heard = True  # the connection itself is a round trip
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if not data:
                            return
                        key.data.sendall(data)
                        if key.fileobj is client and heard:
                            self.trips += 1
                        heard = key.fileobj is host


@contextlib.contextmanager
def relay(lab: Lab, name: str) -> Iterator[Relay]:
    """A relay to one host, whose key is known under the relay's address meanwhile."""
    host, known = lab.host(name), lab.known_hosts.read_text()
    listener = socket.create_server(("127.0.0.1", 0))
    made = Relay((host.address, 22), listener)
    threading.Thread(target=made.accept, daemon=True).start()
    key = next(line.split(maxsplit=1)[1] for line in known.splitlines() if line.split()[0] == host.address)
    lab.known_hosts.write_text(f"{known}[127.0.0.1]:{made.port} {key}\n")
    try:
        yield made
    finally:
        lab.known_hosts.write_text(known)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def connecting(lab: Lab, made: Relay) -> int:
    """Round trips of connecting and authenticating alone."""
    made.reset()
    command = [sys.executable, "-c", CONNECT, str(made.port), str(lab.key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or made.connections != 1:
        raise BenchError(f"connecting through the relay failed: {done.stderr[-1000:]}")
    return made.trips
