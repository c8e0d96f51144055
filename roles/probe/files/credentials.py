"""What lets clients in at this host's gateway: the note of what was brought, and digests of the files as they are now;
and whether users of the host get past it.

Python 3.8, standard library. No key and no certificate leaves the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat

import hostaround
import hostguard
from hosttools import Gap

FILES = {"keys": "keys.map", "certificate": "certificate.pem", "client_ca": "clients-ca.pem"}
NOTE = "credentials.json"
NOTE_LIMIT, FILE_LIMIT = 8 * 1024, 1024 * 1024
# Where systemd keeps its groups of processes: version 2 alone, beside version 1, and version 1.
GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
NOFOLLOW = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def told(state: str, root: str) -> str:
    """{"note": text, "keys": SHA-256, "certificate": SHA-256, "client_ca": SHA-256}.

    "" for what is not there or is not root's alone.
    """
    folder = root + state + "/gateway"
    if not os.path.isdir(folder):
        raise Gap("missing", "no gateway")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise Gap("denied", "only root sees what lets clients in")
    found = {name: digest(os.path.join(folder, file)) for name, file in FILES.items()}
    note = content(os.path.join(folder, NOTE), NOTE_LIMIT).decode("utf-8", "replace")
    return json.dumps(dict(found, note=note))


def guarded(programs: str, root: str) -> str:
    """Whether the engine behind the gateway is open or closed to a user of the host. One that is stopped is not tried:
    who connects to its socket would start it."""
    plan = hostaround.document(root + programs + "/current/plan.json")
    where = hostguard.place(plan) if plan else None
    if where is None:
        raise Gap("missing", "no gateway")
    if root or not any(os.path.isdir(top + "/system.slice/phi4-edge.service") for top in GROUPS):
        raise Gap("missing", "no engine runs")
    return "open" if hostguard.is_open(where) else "closed"


def digest(path: str) -> str:
    data = content(path, FILE_LIMIT)
    return hashlib.sha256(data).hexdigest() if data else ""


def content(path: str, limit: int) -> bytes:
    """What is in a regular file that its owner alone may read; nothing of any other, or of a larger one."""
    try:
        handle = os.open(path, NOFOLLOW)
    except OSError:
        return b""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:  # a folder could not even be made a stream
        os.close(handle)
        return b""
    with os.fdopen(handle, "rb") as stream:
        data = stream.read(limit + 1)
    return data if len(data) <= limit else b""
