"""What a balancer is brought from this controller: its own key, its certificates, and the CAs that it trusts."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from phi4_edge.artifacts.certificates import clients
from phi4_edge.artifacts.certificates.authority import KEY, Authority
from phi4_edge.artifacts.signing.trust import config_root
from phi4_edge.artifacts.store import files
from phi4_edge.core import credentials
from phi4_edge.core.gateway.balancing import key_file
from phi4_edge.core.gateway.credentials import CERTIFICATE_FILE, CLIENT_CA_FILE, NOTE_FILE
from phi4_edge.core.release.balancer_unit import CA_FILE, KEY_FILE, SHOWN_FILE
from phi4_edge.credentials.hosts import Client
from phi4_edge.errors import PreflightError

_KEY_NAME_LONGEST = 63
_CA_LONGEST = 256 << 10
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def key_name(host: str) -> str:
    """The name of a balancer's own key in the keys file."""
    return re.sub(r"[^a-z0-9._-]", "-", f"balancer-{host.lower()}")[:_KEY_NAME_LONGEST]


def own_key(client: Client, held: str, *, check: bool) -> str | None:
    """The file with the balancer's own key, None where the host has the one that gateways let in.

    `held`: SHA-256 of the key that the host has, "" for none. A new one takes the place of the one before in the keys
    file, and is known to gateways after their next provision. `check`: nothing is made, and the file has no key.
    """
    keys, name = client.keys_file, key_name(client.asked.host)
    known = {key.name: key.digest for key in keys.read()}
    if held and known.get(name) == held:
        return None
    if check:
        return key_file("none")
    if name in known:
        keys.revoke(name)
    return key_file(keys.add(name))


def certificate(client: Client, found: Mapping[str, Any]) -> dict[str, str | None]:
    """The certificate and the note of it, by name of the file; None for what stays as it is, "" for what goes.

    `found`: what the host says. Raises Phi4EdgeError where this controller lacks something.
    """
    told = {"keys": "", "certificate": found["certificate"], "note": found["note"]}
    order = client.order(credentials.read(json.dumps(told)) or credentials.NONE)
    pem = json.loads(order.document)["pem"]
    if pem is None:
        return {CERTIFICATE_FILE: None, NOTE_FILE: None}
    note = {**order.note, "pem": hashlib.sha256(pem.encode()).hexdigest() if pem else ""}
    return {CERTIFICATE_FILE: pem, NOTE_FILE: json.dumps(note, indent=2, sort_keys=True) + "\n"}


def trusted(client: Client, given: str) -> str:
    """The CAs of the gateways' certificates, as PEM. `given`: the operator's file of them, "" for the fleet's CA."""
    if not given:
        return Authority.load(config_root() / KEY).trusted
    path = client.path(given, "phi4_balancer_ca")
    try:
        raw = files.read_plain(path, _CA_LONGEST)
    except (OSError, ValueError) as error:
        raise PreflightError(f"{path} cannot be read ({error}): correct phi4_balancer_ca") from error
    if raw is None or _BEGIN not in raw:
        raise PreflightError(f"found no certificate in {path}, needed PEM with the CAs of the gateways' certificates")
    return raw.decode("ascii", "replace")


def shown(client: Client, given: str) -> str:
    """What it shows to gateways that want a client's certificate, as PEM with its key; "" where none is `given`."""
    variable = "phi4_balancer_client_certificate"
    return clients.read_client(client.path(given, variable), int(time.time())) if given else ""


def brought(client: Client, found: Mapping[str, Any], ca: str, given: str, *, check: bool) -> dict[str, str | None]:
    """All files of a balancer but its configuration. `ca`: "-" where no gateway has TLS, else as for `trusted`.

    `given`: as for `shown`.
    """
    # What is wrong with these is said before a key is made.
    first = {SHOWN_FILE: shown(client, given), CLIENT_CA_FILE: client.client_ca(int(time.time()))}
    key = own_key(client, found["key"], check=check)
    return {**first, KEY_FILE: key, CA_FILE: "" if ca == "-" else trusted(client, ca), **certificate(client, found)}
