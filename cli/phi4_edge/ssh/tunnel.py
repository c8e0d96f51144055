"""HTTP to a port of a gateway's loopback interface, bounded in bytes and seconds, from nobody but the unit."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from phi4_edge.core.facts import listener
from phi4_edge.core.inventory import Host, answering
from phi4_edge.core.layout import UNIT
from phi4_edge.errors import HostFailedError, UnreachableError
from phi4_edge.ssh import relay
from phi4_edge.ssh.errand import Rights, rights_at
from phi4_edge.ssh.kept import Lender
from phi4_edge.ssh.stream import LOGIN, GuardedError, ProcessStream, SessionStream, Stream
from phi4_edge.ssh.wire import Budget, OverBudget, Wire

# Of ssh, the relay on the host, and who listens there.
OPEN_SECONDS = 30.0
OPEN_BYTES = 128 * 1024
_LOCAL = frozenset({"local", "ansible.builtin.local"})


@dataclass(frozen=True)
class Entrance:
    """How an engine is reached that is closed to users of its host: as root. `closed`: where it is known to be that.

    The password is the operator's, for hosts whose inventory names none.
    """

    become_password: str = field(default="", repr=False)
    closed: set[str] = field(default_factory=set)

    def rights(self, host: Host) -> Rights:
        """As whom the port is asked next."""
        return (self._root(host) if host.name in self.closed else None) or LOGIN

    def by_ansible(self, host: Host) -> bool:
        """Whether only Ansible becomes root there."""
        return self._root(host) is None

    def _root(self, host: Host) -> Rights | None:
        return rights_at(host, host.user, True, self.become_password)


class Connection(http.client.HTTPConnection):
    """HTTP over a stream to the host. Each exchange has the budget that allow() gave; close() ends the ssh process.

    connect() raises HostFailedError when somebody else has the port, before anything was sent there. Where that cannot
    be seen `warn` hears why. An answer may be read piece by piece until close().
    """

    def __init__(
        self,
        host: Host,
        bind: str,
        port: int,
        warn: Callable[[str], None],
        sessions: Lender | None = None,
        entrance: Entrance | None = None,
    ) -> None:
        super().__init__(answering(bind), port)
        self._host, self._bind, self._warn, self._sessions = host, bind, warn, sessions
        self._entrance = entrance or Entrance()
        self._stream: Stream | None = None
        self._wire: Wire | None = None
        self._answering = self._ended = False

    def allow(self, seconds: float, most_bytes: int) -> Budget:
        """From now on what is sent and read counts against this budget. The connection must be open."""
        if self._wire is None:
            raise UnreachableError(f"found no connection to host {self._host.name}, needed one")
        self._wire.budget = Budget(seconds, most_bytes)
        return self._wire.budget

    def now(self) -> float:
        """Seconds of the clock that its answers are measured with."""
        return time.monotonic()

    def connect(self) -> None:
        """It is open, to nobody but the unit. Raises UnreachableError or OSError when nobody answers."""
        self._close()
        budget = Budget(OPEN_SECONDS, OPEN_BYTES)
        try:
            self._believe(self._reached(budget))
        except OverBudget as error:
            self._close()
            raise UnreachableError(
                f"found {error} when connecting to port {self.port} of host {self._host.name}, needed a host that "
                "answers: check phi4-edge status"
            ) from error
        except BaseException:
            self._close()
            raise
        self.sock = cast(socket.socket, self._wire)

    def _reached(self, budget: Budget) -> listener.Judgement:
        """As the user that logs in; where a user is kept out, as root."""
        try:
            return self._tried(budget, self._entrance.rights(self._host))
        except GuardedError:
            if self._host.name in self._entrance.closed:
                raise
            self._entrance.closed.add(self._host.name)
            rights = self._entrance.rights(self._host)
            if not rights.sudo:
                raise
            self._close()
            return self._tried(budget, rights)

    def _tried(self, budget: Budget, rights: Rights) -> listener.Judgement:
        local = self._host.connection in _LOCAL
        return self._connect_here(budget) if local and not rights.sudo else self._connect_there(budget, rights, local)

    def _connect_here(self, budget: Budget) -> listener.Judgement:
        try:
            sock = socket.create_connection((self.host, self.port), budget.wait(relay.CONNECT_SECONDS))
        except ConnectionRefusedError as error:
            if "guarded" in relay.refused(error, self.host, self.port):
                raise GuardedError(self._host.name, f"{self._bind}:{self.port}", "it is not root that asks") from error
            raise
        self._wire = Wire(sock, budget)
        found = listener.read(relay.told(sock, self.host, self.port))
        return listener.judge(found) if isinstance(found, listener.Report) else cast(listener.Judgement, found)

    def _connect_there(self, budget: Budget, rights: Rights, local: bool) -> listener.Judgement:
        self._stream = self._opened(budget, rights, local)
        self._wire = self._stream.wire
        if self._ended:
            self._stream.cut()
        return self._stream.greet()

    def _opened(self, budget: Budget, rights: Rights, local: bool) -> Stream:
        """Over the session that is open, where there is one that lives; else over an ssh process."""
        session = self._sessions.get(self._host.name) if self._sessions is not None else None
        if session is not None:
            try:
                return SessionStream(session, self._host, self._bind, self.port, budget, rights)
            except ConnectionError:
                pass  # it has ended meanwhile: ssh itself says why, or gets there
        return ProcessStream(self._host, self._bind, self.port, budget, rights, local)

    def _believe(self, found: listener.Judgement) -> None:
        if found.whose == "stranger":
            raise HostFailedError(
                f"found that port {self.port} of host {self._host.name} is held by {found.text}, needed {UNIT}; "
                "nothing was sent there: see sudo ss -ltnp on the host, end that program, then phi4-edge status"
            )
        if found.whose == "unknown":
            self._warn(f"it is unknown who listens on port {self.port} ({found.text}); it may be another program")

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)
        except UnreachableError:
            raise  # it is a ConnectionError too, and says more than we could
        except ConnectionError as error:
            raise self._failure(error) from error

    def getresponse(self) -> http.client.HTTPResponse:
        self._answering = True  # http.client closes us for "Connection: close" while the body is still to be read
        try:
            return super().getresponse()
        except (ConnectionError, http.client.BadStatusLine) as error:
            raise self._failure(error) from error
        finally:
            self._answering = False

    def _failure(self, error: Exception) -> UnreachableError:
        if self._stream is not None:
            return self._stream.failure()
        words = str(error).strip() or type(error).__name__
        return UnreachableError(f"found no answer from host {self._host.name} ({words[:200]}), needed one")

    def cut(self) -> None:
        """Whatever goes on over it ends now, from any thread; nothing more can be sent."""
        self._ended = True
        wire, stream = self._wire, self._stream
        if wire is not None:
            wire.cut()
        if stream is not None:
            stream.cut()

    def close(self) -> None:
        if self._answering:
            self.sock = None
            return
        super().close()
        self._close()

    def _close(self) -> None:
        stream, wire, self._stream, self._wire = self._stream, self._wire, None, None
        if wire is not None:
            wire.close()
        if stream is not None:
            stream.close()


def reaches(host: Host, password: str | None = None, sessions: Lender | None = None) -> bool:
    """Whether a connection of this module gets there: to this machine, or over ssh without a password to type.

    `password`: the command line's, for hosts of whose login the inventory says none. A session that is open needs none.
    """
    if sessions is not None and sessions.get(host.name) is not None:
        return True
    return host.connection in _LOCAL or (host.over_ssh and not (host.ssh.password or password))


def http_connection(
    host: Host,
    bind: str,
    port: int,
    warn: Callable[[str], None],
    sessions: Lender | None = None,
    entrance: Entrance | None = None,
) -> Connection:
    """An HTTP connection to `bind:port` on the host, not open yet; a local host is reached without ssh.

    `warn` hears what the operator should know and what stops nothing. `sessions`: taken where they have one.
    `entrance`: for hosts whose engine is closed to their users. connect(), request() and getresponse() raise
    UnreachableError with ssh's own words, OverBudget for what is too long, and HostFailedError for a stranger.
    """
    return Connection(host, bind, port, warn, sessions, entrance)
