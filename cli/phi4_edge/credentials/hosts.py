"""Keys, certificate and CAs of clients of one host: which it shall have, and what is brought to it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.certificates import authority, clients, operator
from phi4_edge.artifacts.certificates.pem import Issued
from phi4_edge.artifacts.signing.trust import config_root
from phi4_edge.core.credentials import FORMAT, Found
from phi4_edge.core.gateway import certificate
from phi4_edge.core.gateway.credentials import CERTIFICATE, CLIENT_CA, KEYS, Wanted, due
from phi4_edge.core.gateway.key_map import key_map
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.credentials.keys import NAME, KeysFile
from phi4_edge.errors import Phi4EdgeError, PreflightError


@dataclass(frozen=True)
class Order:
    """What is brought to a host. Nothing shows its private key, which is kept nowhere here.

    `document`: JSON with the texts of `keys`, `client_ca` and `pem`, null for what stays as it is. `note`: what the
    host keeps of it, without the digest of the file, which the host adds.
    """

    document: bytes = field(repr=False)
    note: dict[str, Any]


@dataclass(frozen=True)
class Client:
    """One host as its inventory has it: what it asks for, its address, and the sources of the inventory.

    Paths of an inventory are relative to where its first source lies.
    """

    asked: Overrides
    address: str
    inventory: Sequence[str]

    def wanted(self) -> Wanted:
        """What the host shall have now, or what this controller lacks for it."""
        now = int(time.time())
        try:
            client_ca = self.client_ca(now)
            digest = _sha256(client_ca) if client_ca else ""
            return Wanted(now, _sha256(self._keys()), self._certificate(now), client_ca=digest)
        except Phi4EdgeError as error:
            return Wanted(now, lacks=str(error))

    def order(self, found: Found) -> Order:
        """What is brought to a host that has `found`. Raises Phi4EdgeError where this controller lacks something."""
        wanted = self.wanted()
        if wanted.lacks:
            raise PreflightError(wanted.lacks)
        missing = {what for what, _before, _after in due(found, wanted)}
        issued = self._issued(wanted) if CERTIFICATE in missing else None
        pem = issued.pem.decode() if issued else None
        texts = {
            "keys": self._keys() if KEYS in missing else None,
            "client_ca": self.client_ca(wanted.now) if CLIENT_CA in missing else None,
            "pem": pem,
        }
        return Order(json.dumps(texts).encode(), _note(issued) if pem is not None else _kept(found))

    @property
    def keys_file(self) -> KeysFile:
        """The keys file that counts for the host. Raises PreflightError as `path` does."""
        return KeysFile(self.path(self.asked.gateway_keys or NAME, "phi4_gateway_keys"))

    def client_ca(self, now: int) -> str:
        """The CAs of clients, as PEM; "" where they need no certificate. Raises Phi4EdgeError for none that can be."""
        given = self.asked.gateway_client_ca
        return clients.read_authorities(self.path(given, "phi4_gateway_client_ca"), now) if given else ""

    def _keys(self) -> str:
        file = self.keys_file
        if not file.path.exists():
            raise PreflightError(
                f"found no keys of gateways ({file.path}), needed a key for each client: make one with 'phi4-edge key "
                "add INVENTORY NAME', or name another file with phi4_gateway_keys"
            )
        return key_map(file.read())

    def _certificate(self, now: int) -> certificate.Wanted | None:
        if not self.asked.gateway_tls:
            return None
        if self.asked.gateway_certificate:
            return certificate.Wanted(digest=self._given(now).digest)
        found = authority.Authority.load(config_root() / authority.KEY)
        return certificate.Wanted(found.digest, self._names())

    def _issued(self, wanted: Wanted) -> Issued | None:
        """The certificate that is due, None where none is wanted."""
        if wanted.certificate is None:
            return None
        if wanted.certificate.digest:
            return self._given(wanted.now)
        found = authority.Authority.load(config_root() / authority.KEY)
        return found.issue(wanted.certificate.names, wanted.now)

    def _given(self, now: int) -> Issued:
        key = self.asked.gateway_certificate_key
        return operator.read_operator(
            self.path(self.asked.gateway_certificate, "phi4_gateway_certificate"),
            self.path(key, "phi4_gateway_certificate_key") if key else None,
            now,
        )

    def _names(self) -> tuple[str, ...]:
        asked = self.asked
        return certificate.names(asked.host, self.address, asked.bind, asked.gateway_names)

    def path(self, text: str, variable: str) -> Path:
        """Where a file of the controller is that a variable names. Raises PreflightError where nobody can know."""
        path = Path(text).expanduser()
        if path.is_absolute():
            return path
        first = self.inventory[0] if self.inventory else ""
        if not first or "," in first:
            raise PreflightError(
                f"found the path {text[:200]} and an inventory that is no file, needed {variable} with a whole path"
            )
        return Path(first).expanduser().absolute().parent / path


def _note(issued: Issued | None) -> dict[str, Any]:
    """What the host keeps of a certificate; of none, nothing."""
    if issued is None:
        return {"format": FORMAT, "issuer": "", "digest": "", "names": [], "not_after": 0}
    names = ("issuer", "digest", "not_after")
    return {"format": FORMAT, "names": list(issued.names)} | {name: getattr(issued, name) for name in names}


def _kept(found: Found) -> dict[str, Any]:
    """The note of a certificate that stays."""
    known = _note(None) | {name: value for name, value in found.note.items() if name != "pem"}
    return {**known, "names": list(known["names"])}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
