"""Whether the files that the receipt names are still what it says: `verify()`, sent to the host in front of probe.py.

Python 3.8, standard library. The receipt is read as data that anyone could have written: only regular files below our
own paths are opened, and everything that goes back is bounded.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
import time
from typing import Any, Dict, Iterator, Tuple

import hostaround
from hostseal import intact

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
DOCKER = "/run/docker.sock"
DOCKER_SECONDS = 5
DOCKER_LIMIT = 1024 * 1024  # some KiB for each container, and ours are two
NOFOLLOW = hostaround.NOFOLLOW
EDITED = "the receipt was edited: it is not as it was written, so nothing in it can be relied on"
HEAL_LIMIT = 32 * 1024


def verify(ours: Tuple[str, str], root: str, seconds: float, deep: bool = False) -> Json:
    """{"present", "receipt" without its files, "file_count", "drift": [{"path", "problem"}], "error" if any}.

    "containers": [{"service", "image", "state", "health", "memory_kills"}], where the release runs some and Docker may
    be asked. "edited": true for a receipt that is not as it was written. "general": drop-ins for every service of the
    host. "heal": what the host's own check has found last.
    `deep`: every file is hashed, whatever its stamp says.
    """
    place = root + ours[1] + "/receipt.json"
    healed = hostaround.document(root + ours[1] + "/heal.json", HEAL_LIMIT)
    told: Json = {} if healed is None else {"heal": healed}
    if not os.path.lexists(place):
        return {"present": False, **told}
    answer: Json = {"present": True, "receipt": {}, "file_count": 0, "drift": [], **told}
    try:
        files, links = load(os.open(place, NOFOLLOW), answer)
        answer["file_count"] = len(files)
        found = problems(Inside(ours, root), files, links, time.monotonic() + seconds, deep)
        for path, problem in itertools.chain(found, around(ours[1], root, answer["receipt"])):
            answer["drift"].append({"path": path, "problem": problem})
            if len(answer["drift"]) >= DRIFT_LIMIT:
                raise ValueError("more than %d files differ" % DRIFT_LIMIT)
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        answer["error"] = ("%s: %s" % (type(error).__name__, error))[:300]
    general = hostaround.general(root)
    if general:
        answer["general"] = general
    return contained(root, answer)


def around(state: str, root: str, receipt: Json) -> Iterator[Tuple[str, str]]:
    """What is not as committed, and no file of the receipt."""
    for path in hostaround.added(root):
        yield path, "added"
    yield from hostaround.docker_settings(state, root, receipt.get("steps"))
    if in_containers(receipt):
        yield from hostaround.group(root)


def in_containers(receipt: Json) -> bool:
    return receipt.get("service_manager") == "compose" or bool(receipt.get("webui_image"))


def contained(root: str, answer: Json) -> Json:
    """The answer with what Docker says of the release's containers and images, where it has any and may be asked."""
    if not in_containers(answer["receipt"]):
        return answer
    import hostsocket

    way = hostsocket.Way(root + DOCKER, DOCKER_SECONDS)
    try:
        answer = dict(answer, containers=containers(way, root, answer["receipt"]))
        lost = [{"path": name, "problem": problem} for name, problem in hostaround.images(way, answer["receipt"])]
        answer["drift"] = (answer["drift"] + lost)[:DRIFT_LIMIT]
    except hostsocket.UNKNOWN:
        return answer  # what cannot be asked is nothing against the release: its unit says whether it runs
    finally:
        way.close()
    return answer


def containers(way: Any, root: str, receipt: Json) -> list[Json]:
    """The containers of the receipt's release. Raises ValueError where this user may not ask Docker."""
    wanted = json.dumps({"label": ["phi4-edge.release=%.100s" % receipt.get("release")]})
    status, listed = way.ask("/containers/json?all=1&filters=" + hostaround.quoted(wanted), DOCKER_LIMIT)
    if status != 200:
        raise ValueError("Docker answers %d" % status)
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
    receipt.pop("seal", None)
    if not intact(raw):
        answer["error"], answer["edited"] = EDITED, True
    return files, links


def problems(inside: Inside, files: list[Any], links: list[Any], end: float, deep: bool) -> Iterator[Tuple[str, str]]:
    root = inside.root
    for entry in links:
        path = inside.check(entry["path"])
        if not os.path.islink(root + path):
            yield path, "link" if os.path.lexists(root + path) else "missing"
        elif os.readlink(root + path) != entry["target"]:
            yield path, "link"
    for entry in files:
        path = inside.check(entry["path"])
        found = problem(root + path, entry, path.startswith(inside.bulk), end, deep)
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


def problem(path: str, entry: Json, bulk: bool, end: float, deep: bool) -> str | None:
    """What is wrong with one file, or None. Bulk and large files are hashed only when their stamp has changed, or all
    are (`deep`): a disk that loses bits, and who sets the time back, leave the stamp as it was.

    An engine has thousands of files: one that has its stamp is not opened.
    """
    if bulk and not deep and (seen := untouched(path, entry)) is not None:
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
        cheap = deep or (not bulk and status.st_size < ALWAYS_HASHED)
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
