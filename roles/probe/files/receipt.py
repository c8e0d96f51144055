"""Whether the files that the receipt names are still what it says: `verify()`, sent to the host in front of probe.py.

Python 3.8, standard library. The receipt is read as data that anyone could have written: only regular files below our
own paths are opened, and everything that goes back is bounded.
"""

import hashlib
import json
import os
import stat
import time

RECEIPT = "/var/lib/phi4-edge/receipt.json"
RECEIPT_LIMIT = 16 * 1024 * 1024  # 250 bytes for each of 60,000 files
HEAD_LIMIT = 48 * 1024  # the receipt without its files is about 2 KiB
DRIFT_LIMIT = 200
ALWAYS_HASHED = 256 * 1024  # smaller files configure us and cost nothing to hash; a stamp can be forged with touch
BULK = ("/opt/phi4-edge/engines/", "/var/lib/phi4-edge/models/")
TOPS = ("/opt/phi4-edge", "/var/lib/phi4-edge", "/etc/systemd/system")
OURS = ("/opt/phi4-edge/", "/var/lib/phi4-edge/", "/etc/systemd/system/phi4-edge")
NOFOLLOW = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def verify(root, seconds):
    """{"present", "receipt" without its files, "file_count", "drift": [{"path", "problem"}], "error" if any}."""
    if not os.path.lexists(root + RECEIPT):
        return {"present": False}
    answer = {"present": True, "receipt": {}, "file_count": 0, "drift": []}
    try:
        files, links = load(os.open(root + RECEIPT, NOFOLLOW), answer)
        answer["file_count"] = len(files)
        for path, problem in problems(root, files, links, time.monotonic() + seconds):
            answer["drift"].append({"path": path, "problem": problem})
            if len(answer["drift"]) >= DRIFT_LIMIT:
                raise ValueError("more than %d files differ" % DRIFT_LIMIT)
    except (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        answer["error"] = ("%s: %s" % (type(error).__name__, error))[:300]
    return answer


def load(handle, answer):
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


def problems(root, files, links, end):
    inside = Inside(root)
    for entry in links:
        path = inside.check(entry["path"])
        if not os.path.islink(root + path):
            yield path, "link" if os.path.lexists(root + path) else "missing"
        elif os.readlink(root + path) != entry["target"]:
            yield path, "link"
    for entry in files:
        path = inside.check(entry["path"])
        found = problem(root + path, entry, path.startswith(BULK), end)
        if found:
            yield path, found


class Inside:
    """Holds the receipt to our own paths, also where a link on the way would lead out of them."""

    def __init__(self, root):
        self.root = root
        self.tops = [os.path.realpath(root + top) for top in TOPS]
        self.known = set()

    def check(self, path):
        """The path, if it is one of ours. Raises ValueError that names it otherwise."""
        if not path.startswith(OURS) or ".." in path.split("/") or len(path) > 1000 or not path.isprintable():
            raise ValueError("the receipt names a path that is not ours: %.100r" % path)
        folder = os.path.dirname(path)
        if folder not in self.known:
            real = os.path.realpath(self.root + folder)
            if not any(real == top or real.startswith(top + "/") for top in self.tops):
                raise ValueError("the receipt names a path that leads elsewhere: %.100r" % path)
            self.known.add(folder)
        return path


def problem(path, entry, bulk, end):
    """What is wrong with one file, or None. Bulk and large files are hashed only when their stamp has changed."""
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
    return None if stat.S_IMODE(status.st_mode) == mode(entry["mode"]) else "mode"


def mode(value):
    return value if isinstance(value, int) else int(value, 8)


def digest(stream, end):
    total = hashlib.sha256()
    while True:
        if time.monotonic() > end:
            raise ValueError("not every file could be verified in time")
        chunk = stream.read(1 << 20)
        if not chunk:
            return total.hexdigest()
        total.update(chunk)
