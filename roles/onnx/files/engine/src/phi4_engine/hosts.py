"""Whom a browser may speak for: foreign `Host` and `Origin` are refused.

The engine has no key, so that a page from anywhere, opened in a browser on the gateway or in its network, could use it:
by a name that its owner points to this address (DNS rebinding), or by a plain request across origins.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from phi4_engine.errors import ApiError
from phi4_engine.names import name_of
from phi4_engine.refusal import too_many

RESERVED = "phi4_reserved"
"""In a request's state: its connection is one of the few that are kept for looks at the health."""
_HEALTH = "/health"
_SHOWN = 100


class Hosts:
    """The names and addresses under which this engine may be called."""

    def __init__(self, bound: Iterable[str], allowed: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        addresses = [ipaddress.ip_address(place) for place in bound]
        # Listening everywhere it has addresses that change. A name is what rebinding needs, and an address is none.
        self._any_address = any(address.is_unspecified for address in addresses)
        self._names = {"localhost", *(_plain(str(address)) for address in addresses), *map(_plain, allowed)}

    def allows(self, host: str) -> bool:
        """Whether the value of a `Host` header, with or without a port, is one of ours."""
        name = _name(host)
        if name is None:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of this origin may ask. `null` is none: sandboxed frames and local files have it."""
        if origin in self._origins:
            return True
        scheme, mark, host = origin.partition("://")
        return bool(mark) and scheme.lower() in ("http", "https") and self.allows(host)


class Gatekeeper:
    """ASGI: refuses requests that are not for us, and all but /health on a connection of the reserve."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request goes on to the application, or gets its refusal and the end of its connection."""
        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, send)
            return
        headers = {**refused.headers, "Connection": "close"}
        await JSONResponse(refused.body(), status_code=refused.status, headers=headers)(scope, receive, send)

    def _refused(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        found, origins = headers.getlist("host"), headers.getlist("origin")
        if not all(map(self._hosts.allows, found)):
            return _foreign("Host", ", ".join(found), "host_not_allowed")
        if not all(map(self._hosts.allows_origin, origins)):
            return _foreign("Origin", ", ".join(origins), "origin_not_allowed")
        if scope.get("state", {}).get(RESERVED) and scope["path"] != _HEALTH:
            return too_many()
        return None


def _plain(name: str) -> str:
    return name_of(name) or name


def _name(host: str) -> str | None:
    """The name in `name`, `name:port`, `[address]` and `[address]:port`; None for anything else."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises ValueError for one that is none
    except ValueError:
        return None
    if parts.netloc != host or not parts.hostname or "@" in host or (":" in parts.hostname) != host.startswith("["):
        return None
    return name_of(parts.hostname)


def _foreign(header: str, found: str, code: str) -> ApiError:
    return ApiError(
        403,
        f"found {header} {found[:_SHOWN]!r}, needed the address that this engine serves; "
        "PHI4_ALLOWED_HOSTS (phi4_allowed_hosts in the inventory) names others",
        code=code,
    )
