"""Whether the files that the receipt names are still what it says: `verify()`, sent to the host in front of probe.py.

Python 3.8, standard library. The receipt is read as data that anyone could have written: only regular files below our
own paths are opened, and everything that goes back is bounded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from typing import Any, Dict, Iterator, Tuple

Json = Dict[str, Any]

RECEIPT_LIMIT = 16 * 1024 * 1024  # 250 bytes for each of 60,000 files
HEAD_LIMIT = 48 * 1024  # the receipt without its files is about 2 KiB
DRIFT_LIMIT = 200
ALWAYS_HASHED = 256 * 1024  # smaller files configure us and cost nothing to hash; a stamp can be forged with touch
UNITS = "/etc/systemd/system"
# What Ansible tells other people's plays.
LOCAL_FACTS, LOCAL_FACT = "/etc/ansible/facts.d", "/etc/ansible/facts.d/phi4_edge.fact"
# Where systemd, or Docker itself, puts the groups of containers; version 2, then version 1.
CONTAINER_GROUPS = (
    "/sys/fs/cgroup/system.slice/docker-%s.scope/memory.events",
    "/sys/fs/cgroup/docker/%s/memory.events",
    "/sys/fs/cgroup/memory/system.slice/docker-%s.scope/memory.oom_control",
    "/sys/fs/cgroup/memory/docker/%s/memory.oom_control",
)
NOFOLLOW = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def verify(ours: Tuple[str, str], root: str, seconds: float) -> Json:
    """{"present", "receipt" without its files, "file_count", "drift": [{"path", "problem"}], "error" if any}.

    "containers": [{"service", "image", "state", "health", "memory_kills"}], where the release runs some and Docker may
    be asked.
    """
    place = root + ours[1] + "/receipt.json"
    if not os.path.lexists(place):
        return {"present": False}
    answer: Json = {"present": True, "receipt": {}, "file_count": 0, "drift": []}
    try:
        files, links = load(os.open(place, NOFOLLOW), answer)
        answer["file_count"] = len(files)
        for path, problem in problems(Inside(ours, root), files, links, time.monotonic() + seconds):
            answer["drift"].append({"path": path, "problem": problem})
            if len(answer["drift"]) >= DRIFT_LIMIT:
                raise ValueError("more than %d files differ" % DRIFT_LIMIT)
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        answer["error"] = ("%s: %s" % (type(error).__name__, error))[:300]
    found = containers(root, answer["receipt"])
    return answer if found is None else dict(answer, containers=found)


def containers(root: str, receipt: Json) -> list[Json] | None:
    """The containers of the receipt's release; None where it has none, or where this user may not ask Docker."""
    if receipt.get("service_manager") != "compose" and not receipt.get("webui_image"):
        return None
    import urllib.parse

    import hostport

    wanted = json.dumps({"label": ["phi4-edge.release=%.100s" % receipt.get("release")]})
    try:
        listed = hostport.docker(root, "/containers/json?all=1&filters=" + urllib.parse.quote(wanted))
        return [
            {
                "service": str((item.get("Labels") or {}).get("phi4-edge.service"))[:40],
                "image": str(item.get("ImageID"))[:80],
                "state": str(item.get("State"))[:40],
                "health": health(str(item.get("Status"))),
                "memory_kills": memory_kills(root, str(item.get("Id"))),
            }
            for item in listed[:50]
        ]
    except (*hostport.UNKNOWN, RecursionError):
        return None  # what cannot be asked is nothing against the release: its unit says whether it runs


def health(status: str) -> str:
    """What a container's health check says, of a status like `Up 5 minutes (healthy)`; "" without one."""
    found = re.search(r"\((?:health: )?(starting|healthy|unhealthy)\)", status[:200])
    return found.group(1) if found else ""


def memory_kills(root: str, container: str) -> int:
    """What the container's control group counts as ended for want of memory, wherever Docker put it."""
    if not re.fullmatch("[0-9a-f]{64}", container):
        return 0
    for place in CONTAINER_GROUPS:
        try:
            with open(root + place % container, encoding="ascii", errors="replace") as stream:
                found = re.search(r"^oom_kill (\d{1,9})$", stream.read(4096), re.MULTILINE)
        except OSError:
            continue
        return int(found.group(1)) if found else 0
    return 0


def load(handle: int, answer: Json) -> Any:
    """The lists of files and links; the rest of the receipt goes into the answer."""
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("the receipt is no regular file")
        raw = stream.read(RECEIPT_LIMIT + 1)
    if len(raw) > RECEIPT_LIMIT:
        raise ValueError("the receipt is larger than %d bytes" % RECEIPT_LIMIT)
    receipt = json.loads(raw.decode("utf-8"))
    if not isinstance(receipt, dict) or not isinstance(receipt.get("files"), list):
        raise ValueError("the receipt is no object with a list of files")
    files, links = receipt.pop("files"), receipt.get("links") or []
    if len(json.dumps(receipt)) > HEAD_LIMIT:
        raise ValueError("the receipt without its files is larger than %d bytes" % HEAD_LIMIT)
    answer["receipt"] = receipt
    return files, links


def problems(inside: Inside, files: list[Any], links: list[Any], end: float) -> Iterator[tuple[str, str]]:
    root = inside.root
    for entry in links:
        path = inside.check(entry["path"])
        if not os.path.islink(root + path):
            yield path, "link" if os.path.lexists(root + path) else "missing"
        elif os.readlink(root + path) != entry["target"]:
            yield path, "link"
    for entry in files:
        path = inside.check(entry["path"])
        found = problem(root + path, entry, path.startswith(inside.bulk), end)
        if found:
            yield path, found


class Inside:
    """Holds the receipt to our own paths, also where a link on the way would lead out of them."""

    def __init__(self, ours: Tuple[str, str], root: str) -> None:
        programs, state = ours
        self.root = root
        self.tops = [os.path.realpath(root + top) for top in (programs, state, UNITS, LOCAL_FACTS)]
        self.ours = (programs + "/", state + "/", UNITS + "/phi4-edge", LOCAL_FACT)
        self.bulk = (programs + "/engines/", state + "/models/", state + "/stores/")
        self.known: set[str] = set()

    def check(self, path: str) -> str:
        """The path, if it is one of ours. Raises ValueError that names it otherwise."""
        if not path.startswith(self.ours) or ".." in path.split("/") or len(path) > 1000 or not path.isprintable():
            raise ValueError("the receipt names a path that is not ours: %.100r" % path)
        folder = os.path.dirname(path)
        if folder not in self.known:
            real = os.path.realpath(self.root + folder)
            if not any(real == top or real.startswith(top + "/") for top in self.tops):
                raise ValueError("the receipt names a path that leads elsewhere: %.100r" % path)
            self.known.add(folder)
        return path


def problem(path: str, entry: Json, bulk: bool, end: float) -> str | None:
    """What is wrong with one file, or None. Bulk and large files are hashed only when their stamp has changed.

    An engine has thousands of files: one that has its stamp is not opened.
    """
    if bulk and (seen := untouched(path, entry)) is not None:
        return standing(seen, entry)
    try:
        handle = os.open(path, NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "changed"  # a link, a socket, or nothing that we may read although we made it readable
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry["size"]:
            return "changed"
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        cheap = not bulk and status.st_size < ALWAYS_HASHED
        if (cheap or stamp != entry.get("stamp")) and digest(stream, end) != entry["sha256"]:
            return "changed"
    return standing(status, entry)


def untouched(path: str, entry: Json) -> os.stat_result | None:
    """The status of a regular file that has the size, time and inode of its stamp; None for any other."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
    same = stat.S_ISREG(status.st_mode) and stamp == entry.get("stamp") and status.st_size == entry["size"]
    return status if same else None


def standing(status: os.stat_result, entry: Json) -> str | None:
    """What is wrong with the owner or the mode of a file, or None."""
    # Receipts of older versions name no owner.
    if entry.get("owner", "%d:%d" % (status.st_uid, status.st_gid)) != "%d:%d" % (status.st_uid, status.st_gid):
        return "owner"
    return None if stat.S_IMODE(status.st_mode) == mode(entry["mode"]) else "mode"


def mode(value: Any) -> int:
    return value if isinstance(value, int) else int(value, 8)


def digest(stream: Any, end: float) -> str:
    total = hashlib.sha256()
    while True:
        if time.monotonic() > end:
            raise ValueError("not every file could be verified in time")
        chunk = stream.read(1 << 20)
        if not chunk:
            return total.hexdigest()
        total.update(chunk)
