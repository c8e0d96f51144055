"""Host side of a balancer: the distribution's HAProxy in front of gateways on other hosts."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Mapping

import hosthaproxy
from hostlib import HostError, Json, fsync_directory, own_directory, read_bytes, remove_tree, write_atomic
from hostrun import command, serve
from hostunit import must, shown

UNIT = "phi4-edge-balancer.service"
UNIT_FILE = "/etc/systemd/system/" + UNIT
SOCKET = "/run/phi4-edge-balancer/admin.sock"
CONFIGURATION, KEY, CERTIFICATE, NOTE = "balancer.cfg", "key.cfg", "certificate.pem", "credentials.json"
OURS = (CONFIGURATION, KEY, CERTIFICATE, NOTE, "ca.pem", "client.pem", "clients-ca.pem")
PROGRAM = "/usr/sbin/haproxy"
NOTE_BYTES = 64 * 1024


def inspect(args: Json, _payload: bytes) -> Json:
    """What is there: version of the package, SHA-256 of its own key and of the certificate's file, the note of it."""
    folder = args["folder"]
    note = read_bytes(os.path.join(folder, NOTE), NOTE_BYTES) or b""
    return {
        "installed": hosthaproxy.installed(),
        "key": digest((read_bytes(os.path.join(folder, KEY), NOTE_BYTES) or b"").rpartition(b" ")[2].strip()),
        "certificate": digest(read_bytes(os.path.join(folder, CERTIFICATE)) or b""),
        "note": note.decode("utf-8", "replace"),
        "changed": False,
    }


def bring(args: Json, payload: bytes) -> Json:
    """The host has these files, and a balancer with them runs, now and after a boot.

    `payload`: JSON with the unit's text in `unit`, and in `files` the texts by name; null leaves one as it is, and ""
    removes it. Where HAProxy does not take them all is as it was before. Raises HostError then.
    """
    given, folder = json.loads(payload.decode()), args["folder"]
    wanted = {os.path.join(folder, name): text.encode() for name, text in given["files"].items() if text is not None}
    wanted[UNIT_FILE] = given["unit"].encode()
    before = {path: read_bytes(path) for path in wanted}
    changes = [path for path, data in wanted.items() if data != (before[path] or b"")]
    state = shown(UNIT)
    running = state.get("ActiveState") == "active" and state.get("UnitFileState") == "enabled"
    if args["check"] or (running and not changes):
        return {"changed": bool(changes) or not running, "changes": changes}
    own_directory(os.path.dirname(folder), 0o755)
    own_directory(folder, 0o700)
    put(wanted)
    try:
        start(folder, UNIT_FILE in changes)
    except HostError as error:
        put(before)
        must("daemon-reload")
        raise HostError("HAProxy did not take what it was given, so all is as it was: %s" % error) from None
    return {"changed": True, "changes": changes or [UNIT]}


def start(folder: str, unit: bool) -> None:
    files = [part for name in (KEY, CONFIGURATION) for part in ("-f", os.path.join(folder, name))]
    status, said = command(PROGRAM, "-c", "-q", *files)
    if status:
        raise HostError(said[-1000:])
    must("daemon-reload")
    must("enable", "--quiet", UNIT)
    if shown(UNIT).get("ActiveState") != "active":
        must("restart", UNIT)
    else:
        must("restart" if unit else "reload", UNIT)


def put(files: Mapping[str, bytes | None]) -> None:
    """The files have this content; there is none of those without any. The unit is public, the others are root's."""
    for path, data in files.items():
        if data:
            write_atomic(path, data, 0o644 if path == UNIT_FILE else 0o600)
        else:
            remove_tree(path)


def drain(args: Json, _payload: bytes) -> Json:
    """A gateway gets no more requests. `running`: its answers that run on after at most `seconds`."""
    if args["check"]:
        return {"changed": True, "running": 0}
    return {"changed": True, "running": hosthaproxy.drain(SOCKET, "gateways", args["gateway"], float(args["seconds"]))}


def ready(args: Json, _payload: bytes) -> Json:
    """A gateway gets requests again once it serves."""
    if not args["check"]:
        hosthaproxy.set_state(SOCKET, "gateways", args["gateway"], "ready")
    return {"changed": True}


def remove(args: Json, _payload: bytes) -> Json:
    """No balancer is left: unit, configuration, key and certificate are gone. The package stays."""
    paths = [UNIT_FILE, *(os.path.join(args["folder"], name) for name in OURS)]
    found = [path for path in paths if os.path.lexists(path)]
    if args["check"] or not found:
        return {"changed": bool(found), "changes": found}
    if UNIT_FILE in found:
        must("disable", "--quiet", "--now", UNIT)
    for path in found:
        remove_tree(path)
    fsync_directory(os.path.dirname(UNIT_FILE))
    must("daemon-reload")
    if os.path.isdir(args["folder"]) and not os.listdir(args["folder"]):
        os.rmdir(args["folder"])
    return {"changed": True, "changes": found}


def digest(data: bytes) -> str:
    """SHA-256 in hex, "" of nothing."""
    return hashlib.sha256(data).hexdigest() if data else ""


if __name__ == "__main__":
    serve(
        globals(),
        {"inspect": inspect, "bring": bring, "drain": drain, "ready": ready, "remove": remove},
        changes=globals()["ARGS"]["do"] not in ("inspect",),
    )
