"""What changes a release although none of its files did: units that were added, Docker's settings, group and images.

Python 3.8, standard library; no program is started. Each finding is (path or name, problem), as for files.
"""

from __future__ import annotations

import grp
import json
import os
import re
import stat
from typing import Any, Dict, Iterator, Tuple

Json = Dict[str, Any]
Finding = Tuple[str, str]

NOFOLLOW = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
UNITS = (
    "phi4-edge-guard.service", "phi4-edge.socket", "phi4-edge.service", "phi4-edge-load.service",
    "phi4-edge-webui.service", "phi4-edge-gateway.service", "phi4-edge-metrics.service", "phi4-edge-measure.service",
    "phi4-edge-heal.service", "phi4-edge-heal.timer",
)  # fmt: skip
# Where systemd looks for what extends a unit (systemd.unit(5)); a unit of ours in one of STRONGER is taken before ours.
STRONGER = ("/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient")
PLACES = (
    *STRONGER, "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
)  # fmt: skip
# Directories for units whose names begin alike are only ours.
ALIKE = re.compile(r"phi4-(?:edge-)?\.(?:service|socket|timer)\.d")
# For every service of the host, and an administrator's: those below /usr are the distribution's.
GENERAL = ("/etc/systemd/system/service.d", "/run/systemd/system/service.d")
MOST_ADDED = 50
DAEMON_JSON = "/etc/docker/daemon.json"
DOCUMENT_LIMIT = 256 * 1024
GROUP = "docker"  # whom Docker's socket belongs to, and with whose rights the unit's client asks
OUR_IMAGES = "phi4-edge/"


def document(path: str, limit: int = DOCUMENT_LIMIT) -> Json | None:
    """The JSON object in a file; None where there is no file, {} where it holds something else."""
    try:
        handle = os.open(path, NOFOLLOW)
    except OSError:
        return {} if os.path.lexists(path) else None
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return {}
        try:
            found = json.loads(stream.read(limit).decode("utf-8", "replace"))
        except (RecursionError, ValueError):
            return {}
    return found if isinstance(found, dict) else {}


def listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def added(root: str) -> list[str]:
    """What makes systemd run our units otherwise than their files say: drop-ins, and units in a stronger place."""
    found = []
    for place in PLACES:
        for name in listed(root + place):
            if place in STRONGER and name in UNITS:
                found.append("%s/%s" % (place, name))
            elif ALIKE.fullmatch(name) or (name.endswith(".d") and name[:-2] in UNITS):
                found += drop_ins(root, "%s/%s" % (place, name))
    return found[:MOST_ADDED]


def general(root: str) -> list[str]:
    """Drop-ins of an administrator's for every service of the host, ours too: they are not ours to remove."""
    return [path for folder in GENERAL for path in drop_ins(root, folder)][:MOST_ADDED]


def drop_ins(root: str, folder: str) -> list[str]:
    names = (name for name in listed(root + folder) if name.endswith(".conf") and name.isprintable())
    return ["%s/%s" % (folder, name) for name in names]


def docker_settings(state: str, root: str, steps: Any) -> Iterator[Finding]:
    """Docker's configuration lacks what a role of ours has put there; a value that somebody chose instead is theirs."""
    if not isinstance(steps, list) or not {"docker", "nvidia_runtime"} & {str(step) for step in steps}:
        return
    noted = document("%s%s/docker.json" % (root, state)) or {}
    wishes = noted.get("wishes")
    needed = [wish.get("required") for wish in wishes.values()] if isinstance(wishes, dict) else []
    ours = noted.get("daemon")
    put = ours.get("added") if isinstance(ours, dict) else None
    current = document(root + DAEMON_JSON)
    if any(isinstance(each, dict) and lacks(current or {}, each) for each in (put, *needed)):
        yield DAEMON_JSON, "missing" if current is None else "changed"


def lacks(current: Json, wanted: Json) -> bool:
    """Whether a key of `wanted`, at any depth, is not there."""
    for key, value in wanted.items():
        if key not in current:
            return True
        if isinstance(value, dict) and isinstance(current[key], dict) and lacks(current[key], value):
            return True
    return False


def group(root: str) -> Iterator[Finding]:
    """The group is gone that the unit's client of Docker runs with: it cannot be started again."""
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        if not root:
            yield "group %s" % GROUP, "missing"


def images(way: Any, receipt: Json) -> Iterator[Finding]:
    """Images of the release that Docker no longer has, or that have lost our name and with it what keeps them."""
    for name in ("image", "webui_image"):
        known = receipt.get(name)
        wanted = str(known.get("id") or "") if isinstance(known, dict) else ""
        if not re.fullmatch("sha256:[0-9a-f]{64}", wanted):
            continue
        status, told = way.ask("/images/%s/json" % quoted(wanted), 4 * DOCUMENT_LIMIT)
        called = "image %.200s" % (known.get("key") if isinstance(known, dict) else wanted)
        if status == 404:
            yield called, "missing"
        elif status == 200 and not any(str(tag).startswith(OUR_IMAGES) for tag in told.get("RepoTags") or ()):
            yield called, "untagged"


def quoted(text: str) -> str:
    """A text as a part of a URL."""
    import urllib.parse

    return urllib.parse.quote(text)
