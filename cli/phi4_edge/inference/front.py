"""HTTP to a host through its gateway, as its clients do: over TLS, with a key, and without SSH."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import PreflightError, UnreachableError
from phi4_edge.ssh import tunnel
from phi4_edge.ssh.wire import Budget, OverBudget, Wire


@dataclass(frozen=True)
class Client:
    """Who asks at gateways.

    `authority`: PEM file of CAs to trust beside the system's, None for no further one. `certificate`: PEM file with
    the client's own certificate and key, None for none.
    """

    key: str = field(repr=False)
    authority: Path | None = None
    certificate: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What gateways are recognised by, and what they are shown. Raises PreflightError for files of other things."""
        found = ssl.create_default_context()
        if self.certificate is not None:
            _show(found, self.certificate)
        if self.authority is None:
            return found
        try:
            found.load_verify_locations(self.authority)
        except (OSError, ssl.SSLError) as error:
            raise PreflightError(
                f"found no CA in {self.authority} ({error.strerror or error}), needed the certificate that clients "
                "trust as PEM: write it with 'phi4-edge trust ca --pem'"
            ) from error
        return found


def _show(context: ssl.SSLContext, path: Path) -> None:
    """Gateways that want a client's certificate get this one. Raises PreflightError for a file that holds none."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise PreflightError(
                f"{path} may be read or written by others than its owner, needed a key that nobody else has: look at "
                f"who could, then chmod 600 {path}"
            )
        # Without a word nobody is asked for one on the terminal.
        context.load_cert_chain(path, password=lambda: "")
    except OSError as error:  # of which ssl.SSLError is one
        raise PreflightError(
            f"found no certificate with its private key in {path} ({error.strerror or error}), needed both as PEM, the "
            "key without a password ('openssl pkey -in OLD -out NEW' takes one away)"
        ) from error


def connector(
    client: Client, variables: Callable[[Host], Mapping[str, Any]]
) -> Callable[[Host, str, int, Callable[[str], None]], tunnel.Connection]:
    """Opens HTTP connections to the gateway of each host, where its inventory has it, whatever port the engine has.

    `variables`: the `phi4_*` variables of a host.
    """
    context = client.context()

    def connect(host: Host, _bind: str, _port: int, warn: Callable[[str], None]) -> tunnel.Connection:
        asked = Overrides.from_vars(host.name, variables(host))
        if not asked.gateway:
            raise PreflightError(
                f"found no gateway for {host.name}, needed one to ask through: set phi4_gateway=true, or leave "
                "--via out"
            )
        return FrontConnection(host, asked, client.key, context if asked.gateway_tls else None, warn)

    return connect


class FrontConnection(tunnel.Connection):
    """A connection to a gateway. Whoever has the certificate is believed; nobody looks at whose process it is."""

    def __init__(
        self, host: Host, asked: Overrides, key: str, context: ssl.SSLContext | None, warn: Callable[[str], None]
    ) -> None:
        super().__init__(host, asked.bind, asked.gateway_port, warn)
        self.host, self._key, self._context = host.address or host.name, key, context

    def connect(self) -> None:
        """It is open. Raises UnreachableError where nobody answers, or somebody without a certificate that is good."""
        self._close()
        budget = Budget(tunnel.OPEN_SECONDS, tunnel.OPEN_BYTES)
        try:
            sock = socket.create_connection((self.host, self.port), budget.wait(tunnel.OPEN_SECONDS))
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"found a certificate at {self._place} that is not to be trusted ({error.verify_message}), needed one "
                "of the fleet's CA or of --ca for this name: see docs/gateway.md"
            ) from error
        except (OSError, OverBudget) as error:
            raise UnreachableError(
                f"found no gateway at {self._place} ({error}), needed one that this machine reaches: set phi4_bind to "
                "an address of the host's network, then phi4-edge provision"
            ) from error
        self._wire = Wire(sock, budget)
        self.sock = cast(socket.socket, self._wire)

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        """The key goes with every request."""
        self.putheader("Authorization", f"Bearer {self._key}")
        super().endheaders(message_body, encode_chunked=encode_chunked)
