"""What lets clients in at a gateway: whether a host has the keys and the certificate that its controller would bring.

They are no part of a release: they change by a reload, and no engine is started anew for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.credentials import Found
from phi4_edge.core.gateway import certificate
from phi4_edge.core.text import clean

KEYS_FILE, CERTIFICATE_FILE, NOTE_FILE = "keys.map", "certificate.pem", "credentials.json"
CLIENT_CA_FILE = "clients-ca.pem"
KEYS, CERTIFICATE, CLIENT_CA = "gateway keys", "gateway certificate", "CA of clients"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a controller would have on a host, at the time `now` (seconds since 1970).

    `keys`: SHA-256 of the map. `certificate`: None without TLS. `client_ca`: SHA-256 of the CAs of clients, "" where
    they need no certificate. `lacks`: what the controller has not got that it would
    need, and what to do about it; "" where it has all.
    """

    now: int = 0
    keys: str = ""
    certificate: certificate.Wanted | None = None
    lacks: str = ""
    client_ca: str = ""


def due(found: Found, wanted: Wanted) -> tuple[tuple[str, str, str], ...]:
    """Return what is to be brought: (what, what the host has, what it gets); () where all is as wanted."""
    if wanted.lacks:
        return ()
    listed = []
    if found.keys != wanted.keys:
        listed.append((KEYS, "none" if not found.keys else "others", "as the keys file says"))
    # What is not wanted any more stays: the release that still runs names it, and so may the one before.
    if wanted.client_ca not in ("", found.client_ca):
        listed.append((CLIENT_CA, "none" if not found.client_ca else "others", "as the file says"))
    if wanted.certificate is None:
        return tuple(listed)
    note = found.note
    changed = "it was changed on the host" if note.get("pem") != found.pem else ""
    why = changed or certificate.due(note, wanted.certificate, wanted.now)
    if not found.pem or why:
        before = clean(why, 200) if found.pem else "none"
        listed.append((CERTIFICATE, before, "a new one" if wanted.certificate.issuer else "the given one"))
    return tuple(listed)
