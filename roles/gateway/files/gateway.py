"""Host side of the gateway: the distribution's HAProxy, and what lets clients in at it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Mapping

import hosthaproxy
from hostlib import HostError, Json, own_directory, read_bytes, remove_tree, write_atomic
from hostrun import serve
from hostunit import GATEWAY, must, shown

# The package's own unit, which we have no use for.
THEIRS = "haproxy.service"
KEYS, CERTIFICATE, CLIENT_CA, NOTE = "keys.map", "certificate.pem", "clients-ca.pem", "credentials.json"
GIVEN = {"keys": KEYS, "client_ca": CLIENT_CA, "pem": CERTIFICATE}
MODE = 0o600
# As phi4-edge-guard.service calls it.
NFT = "/usr/sbin/nft"


def inspect(_args: Json, _payload: bytes) -> Json:
    """Version of the distribution's package that is installed, "" for none; and whether nftables' program is there."""
    return {"installed": hosthaproxy.installed(), "nft": os.access(NFT, os.X_OK), "changed": False}


def quiet(args: Json, _payload: bytes) -> Json:
    """The unit of a package that we installed neither runs nor starts at boot."""
    state = shown(THEIRS)
    busy = state.get("ActiveState") == "active" or state.get("UnitFileState") == "enabled"
    if busy and not args["check"]:
        must("disable", "--quiet", "--now", THEIRS)
    return {"changed": busy}


def bring(args: Json, payload: bytes) -> Json:
    """The host has these keys, CAs of clients and certificate, and a gateway that runs uses them from now on.

    `payload`: JSON with `keys`, `client_ca` and `pem`, each the text of its file; null leaves it as it is. Where the
    gateway does not take them they are as they were before. Raises HostError then.
    """
    given, folder = json.loads(payload.decode()), args["folder"]
    wanted = {file: given[name] for name, file in GIVEN.items() if given[name] is not None}
    changes = [os.path.join(folder, name) for name, text in wanted.items() if text or held(folder, name)]
    if args["check"] or not changes:
        return {"changed": bool(changes), "changes": changes}
    own_directory(os.path.dirname(folder), 0o755)
    own_directory(folder, 0o700)
    before = {name: read_bytes(os.path.join(folder, name)) for name in (*wanted, NOTE)}
    put(folder, {name: text.encode() for name, text in wanted.items()})
    put(folder, {NOTE: noted(folder, args["note"])})
    if shown(GATEWAY).get("ActiveState") == "active":
        try:
            must("reload", GATEWAY)
        except HostError as error:
            put(folder, before)
            raise HostError(
                f"the gateway did not take the new keys or certificates, so it has the old ones: {error}"
            ) from None
    return {"changed": True, "changes": changes}


def held(folder: str, name: str) -> bool:
    return os.path.lexists(os.path.join(folder, name))


def put(folder: str, files: Mapping[str, bytes | None]) -> None:
    """The files have this content; there is none of those without any."""
    for name, data in files.items():
        path = os.path.join(folder, name)
        if data:
            write_atomic(path, data, MODE)
        else:
            remove_tree(path)
    if not held(folder, KEYS):
        write_atomic(os.path.join(folder, KEYS), b"", MODE)


def noted(folder: str, note: Json) -> bytes:
    """The note of what was brought, with the digest of the certificate's file as it lies there."""
    pem = read_bytes(os.path.join(folder, CERTIFICATE))
    known = dict(note, pem=hashlib.sha256(pem).hexdigest() if pem else "")
    return (json.dumps(known, indent=2, sort_keys=True) + "\n").encode()


if __name__ == "__main__":
    serve(
        globals(), {"inspect": inspect, "quiet": quiet, "bring": bring},
        changes=globals()["ARGS"]["do"] not in ("inspect",),
    )  # fmt: skip
