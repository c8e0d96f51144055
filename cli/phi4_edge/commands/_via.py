"""`--via gateway`: asking as clients do, through the gateway of each host."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phi4_edge.errors import PreflightError

if TYPE_CHECKING:
    from phi4_edge.inference.exchange import Connect
    from phi4_edge.operations.fleet import Fleet

F = TypeVar("F", bound=Callable[..., Any])
HOST, GATEWAY = "host", "gateway"
VARIABLE = "PHI4_EDGE_KEY"
# A key has 47 characters; what is longer is another file.
_MOST = 4096


@dataclass(frozen=True)
class Via:
    """How the engines are asked.

    `key_file`, `authority`: None for the environment, and for the fleet's own CA. `certificate`: None for none.
    """

    way: str
    key_file: Path | None
    authority: Path | None
    certificate: Path | None = None

    @property
    def gateway(self) -> bool:
        """Whether it is through the gateway."""
        return self.way == GATEWAY

    def require_host(self, given: object, option: str) -> None:
        """Raises UsageError where an option is `given` that cannot go through a gateway."""
        if given and self.gateway:
            raise click.UsageError(f"--via gateway asks what serves, so it cannot go with {option}")

    def connector(self, fleet: Fleet) -> Connect | None:
        """Opens connections through gateways; None for the usual way. Raises PreflightError without a key."""
        if not self.gateway:
            return None
        from phi4_edge.inference import front
        from phi4_edge.operations import authority

        own = authority.path().with_name("ca.pem")
        trusted = self.authority or (own if own.exists() else None)
        return front.connector(front.Client(self._key(), trusted, self.certificate), fleet.variables)

    def _key(self) -> str:
        text = os.environ.get(VARIABLE, "") if self.key_file is None else self._read(self.key_file)
        key = text.strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            where = f"in {self.key_file}" if self.key_file else f"in the environment variable {VARIABLE}"
            raise PreflightError(
                f"found no key {where}, needed one that 'phi4-edge key add' showed: put it there, or give --gateway-key"
            )
        return key

    @staticmethod
    def _read(path: Path) -> str:
        with path.open("rb") as stream:
            return stream.read(_MOST).decode("ascii", "replace")


def via_options(function: F) -> F:
    """Adds the options; all of them are `via`."""

    @functools.wraps(function)
    def gathered(*args: object, way: str, **rest: Any) -> object:
        files = {name: rest.pop(name) for name in ("key_file", "authority", "certificate")}
        if way != GATEWAY and any(files.values()):
            raise click.UsageError("--gateway-key, --ca and --client-certificate need --via gateway")
        return function(*args, via=Via(way, **files), **rest)

    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = (
        click.option(
            "--via",
            "way",
            type=click.Choice([HOST, GATEWAY]),
            default=HOST,
            show_default=True,
            help="Ask over SSH, or as clients do: through the host's gateway, with a key.",
        ),
        click.option(
            "--gateway-key", "key_file", type=file, metavar="FILE",
            help=f"File of the key for --via gateway.  [default: ${VARIABLE}]",
        ),
        click.option(
            "--ca", "authority", type=file, metavar="FILE",
            help="CA that gateways are recognised by, as PEM.  [default: the fleet's]",
        ),
        click.option(
            "--client-certificate", "certificate", type=file, metavar="FILE",
            help="Certificate and key, as PEM, for gateways that want one of clients.",
        ),
    )  # fmt: skip
    wrapped: Callable[..., object] = gathered
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
