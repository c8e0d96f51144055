"""What lets clients in at a host's gateway, as the probe found it: digests, and the note of what was brought."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from phi4_edge.core.text import clean

FORMAT = "phi4-edge/credentials/1"
# Seconds since 1970 that a date of four digits has.
LATEST = 253_402_300_799
MOST_NAMES = 64
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """What a host has.

    `keys`, `pem`, `client_ca`: SHA-256 of the files as they are now, "" where there is none of root's alone.

    `note`: what was brought last: digests, names, issuer and end of the certificate; {} where there is none of ours.
    """

    keys: str = ""
    pem: str = ""
    note: Mapping[str, Any] = field(default_factory=dict)
    client_ca: str = ""

    @property
    def not_after(self) -> int:
        """Seconds since 1970 at which the certificate ends, 0 where nobody knows."""
        value = self.note.get("not_after")
        return value if isinstance(value, int) else 0


NONE = Found()


def moment(seconds: int) -> str:
    """Return seconds since 1970 as a date and time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if 0 < seconds < LATEST else ""


def read(text: str) -> Found | None:
    """Return what the probe's source says, None where that cannot be."""
    try:
        document = json.loads(text)
        keys, pem, said = (document[name] for name in ("keys", "certificate", "note"))
        client_ca = document.get("client_ca", "")  # a look that was kept from before there was one has none
        note = json.loads(said) if said else {}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    if any(not isinstance(one, str) or (one and not _DIGEST.fullmatch(one)) for one in (keys, pem, client_ca)):
        return None
    ours = isinstance(note, dict) and note.get("format") == FORMAT
    return Found(keys, pem, _bounded(note) if ours else {}, client_ca)


def _bounded(note: Mapping[str, Any]) -> dict[str, Any]:
    names, end = note.get("names"), note.get("not_after")
    listed = tuple(clean(name, 253) for name in names[:MOST_NAMES]) if isinstance(names, list) else ()
    found: dict[str, Any] = {name: clean(note.get(name), 64) for name in ("pem", "issuer", "digest")}
    return {**found, "names": listed, "not_after": end if type(end) is int and 0 <= end < LATEST else 0}
