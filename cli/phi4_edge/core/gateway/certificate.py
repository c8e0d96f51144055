"""Which certificate a gateway must have: for which names, and when it is time for another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.names import server_name
from phi4_edge.errors import InventoryError

# Days that a certificate of the fleet's CA is good for; a new one is due in the last third.
DAYS = 90
DAY_SECONDS = 86_400
RENEWED_SECONDS = DAYS // 3 * DAY_SECONDS
# Clocks of two controllers may differ by this much.
_SKEW_SECONDS = DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a host's certificate must be.

    From the fleet's CA: `issuer` is the SHA-256 of the CA's certificate, `names` what the host is called. An operator's
    own: `digest` is its SHA-256, which says everything.
    """

    issuer: str = ""
    names: tuple[str, ...] = ()
    digest: str = ""


def names(host: str, address: str, bind: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names and addresses by which clients may call a host, as its certificate has them.

    `host`: its name in the inventory. `address`: its ansible_host, "" for none. `bind`: phi4_bind. `more`:
    phi4_gateway_names. What no certificate can have, such as the name gw_1, is left out. Raises InventoryError where
    nothing is left.
    """
    return usable((host, address, bind, *more))


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """Return those names and addresses that a certificate can have, each once. Raises InventoryError for none."""
    given = [name for name in names if name]
    found = tuple(dict.fromkeys(filter(None, map(server_name, given))))
    if not found:
        shown = ", ".join(repr(name[:80]) for name in given[:8]) or "nothing"
        raise InventoryError(
            f"found no name for the certificate of a gateway ({shown}), needed a DNS name or an IP address: name one "
            "in phi4_gateway_names"
        )
    return found


def due(found: Mapping[str, Any], wanted: Wanted, now: int) -> str:
    """Return why a host needs a new certificate, "" where it does not.

    `found`: what the host says of the one that it has, nothing for none. `now`: seconds since 1970.
    """
    if not found:
        return "it has no certificate"
    if wanted.digest:
        return "" if found.get("digest") == wanted.digest else "the operator's certificate is another"
    held, ends = found.get("names"), found.get("not_after")
    if not isinstance(held, (list, tuple)) or not all(isinstance(name, str) for name in held) or type(ends) is not int:
        return "what it says of its certificate is damaged"
    left = ends - now
    reasons = (
        (found.get("issuer") != wanted.issuer, "the fleet's CA is another"),
        (set(held) != set(wanted.names), f"its names are now {', '.join(wanted.names)}"),
        (left > DAYS * DAY_SECONDS + _SKEW_SECONDS, "its certificate was made by a clock that was ahead"),
        (left <= 0, "its certificate has expired"),
        (left <= RENEWED_SECONDS, f"its certificate expires in {left // DAY_SECONDS} days"),
    )
    return next((reason for holds, reason in reasons if holds), "")
