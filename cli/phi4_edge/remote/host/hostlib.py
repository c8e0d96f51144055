"""What every script that changes a host shares: atomic writes, hashes, stamps, records.

Runs on the host with its own Python (3.8 or newer, standard library only), sent in front of the script that uses it.
A *record* is the verified content of one directory, kept beside it as `<directory>.json`: every file with its SHA-256,
size, mode and stamp. Where a stamp still matches, the file is not read again.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
from typing import Any, Dict, Iterator, Set

Json = Dict[str, Any]  # evaluated at run time: builtin generics need Python 3.9
BLOCK = 1 << 20
RECORD_FORMAT = "phi4-edge/record/1"
# A receipt has 250 bytes for each of its files, and no engine has 200,000 of them.
JSON_LIMIT = 64 * 1024 * 1024
# Files whose stamp is not believed, because a look at all their bytes found others than were recorded.
DOUBTED: Set[str] = set()


class HostError(Exception):
    """Something on the host stands in the way; the message says what was found and what was needed."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


def inside(root: str, relative: str) -> str:
    """Path of `relative` below `root`. Raises HostError for a name that would leave `root`."""
    parts = relative.split("/")
    if not relative or "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise HostError(f"refusing the file name {relative!r}: it is not a plain path below {root}")
    return os.path.join(root, *parts)


def own_directory(path: str, mode: int) -> None:
    """`path` is a real directory of ours with `mode` afterwards; missing ancestors are made 0755.

    Raises HostError where `path` is a symlink, something else, or belongs to another user: whoever owns it could
    change what is written there.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        own_directory(parent, 0o755)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise HostError(f"{path} is not a directory owned by uid {os.geteuid()}: move it away") from None
    if stat.S_IMODE(os.lstat(path).st_mode) != mode:
        os.chmod(path, mode)


def system_directory(path: str) -> None:
    """`path` is a directory. One that is there is the operator's, and keeps the mode that it was given."""
    if not os.path.isdir(path):
        own_directory(path, 0o755)


def fsync_directory(path: str) -> None:
    """Names that were created, renamed or removed in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: str, data: bytes, mode: int = 0o644) -> None:
    """`path` holds `data` with `mode`, at once and durably; a reader sees the old content or the new one."""
    temporary = temporary_name(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            # In a folder with the setgid bit it would have that folder's group.
            os.fchown(stream.fileno(), os.geteuid(), os.getegid())
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    fsync_directory(os.path.dirname(path))


def temporary_name(path: str) -> str:
    """A free name beside `path`; what processes that were killed left under such names is gone."""
    for left in glob.glob(glob.escape(path) + ".new-*"):
        if not os.path.exists("/proc/" + left.rpartition("-")[2]):
            remove_tree(left)
    return f"{path}.new-{os.getpid()}"


def replace(temporary: str, path: str) -> None:
    """`path` is what `temporary` was; a directory that somebody put in its place is gone."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    os.rename(temporary, path)


def write_json(path: str, document: Any, mode: int = 0o644) -> None:
    """`path` holds `document` as JSON, atomically and durably."""
    write_atomic(path, (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode(), mode)


def read_json(path: str) -> Any:
    """The document in `path`, or None where there is no regular file with JSON of a sane size."""
    try:
        return json.loads(read_bytes(path, JSON_LIMIT) or b"")
    except (ValueError, RecursionError):
        return None


def read_bytes(path: str, limit: int = -1) -> bytes | None:
    """Content of a regular file, its first `limit` bytes; None where there is none (a symlink counts as none)."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO would wait for its writer
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as stream:
        return stream.read(limit)


def link_target(path: str) -> str | None:
    """Where the symlink `path` points, or None where it is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def link_atomic(target: str, path: str) -> bool:
    """`path` is a symlink to `target`; true when that was a change. A reader sees the old link or the new one."""
    if link_target(path) == target:
        return False
    temporary = temporary_name(path)
    os.symlink(target, temporary)
    replace(temporary, path)
    fsync_directory(os.path.dirname(path))
    return True


def sha256_file(path: str) -> str:
    """SHA-256 of a regular file, read in blocks. Raises OSError for a symlink and for anything else."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def stamp(found: os.stat_result) -> list[int]:
    """What changes when a file's content does: size, modification time in nanoseconds, inode."""
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def entry(path: str, name: str, known: Json | None = None) -> Json:
    """The record's line for the file `path` under the name `name`; hashed unless `known` has the same stamp."""
    found = os.lstat(path)
    now = stamp(found)
    same = known is not None and known.get("stamp") == now and isinstance(known.get("sha256"), str)
    same = same and path not in DOUBTED
    return {
        "path": name,
        "sha256": known["sha256"] if known is not None and same else sha256_file(path),
        "size": found.st_size,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "stamp": now,
    }


def regular_files(root: str) -> Iterator[str]:
    """Relative paths of the regular files below `root`, sorted within each directory; bytecode caches do not count."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, root)


def symbolic_links(root: str) -> Iterator[str]:
    """Relative paths of the symbolic links below `root`, to files and to folders."""
    for folder, folders, names in os.walk(root):
        for name in sorted([*folders, *names]):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield os.path.relpath(path, root)


def read_record(root: str) -> dict[str, Json]:
    """The record of the directory `root` by file name; empty where there is none."""
    document = read_json(root + ".json")
    if not isinstance(document, dict) or document.get("format") != RECORD_FORMAT:
        return {}
    return lines_of(document)


def lines_of(document: Json) -> dict[str, Json]:
    """The lines of a record or receipt by path; what was edited by hand into something else does not count."""
    lines = document.get("files")
    found = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    return {line["path"]: line for line in found if isinstance(line.get("path"), str)}


def write_record(root: str, files: list[Json], links: list[Json] | None = None, made_of: Json | None = None) -> None:
    """The verified content of `root` is remembered beside it; `links` are {"path", "target"}.

    `made_of`: digests of what it was built from, where that is not what it holds.
    """
    more = {name: found for name, found in (("links", links), ("made_of", made_of)) if found}
    write_json(root + ".json", {"format": RECORD_FORMAT, "files": files, **more})


def recorded_links(root: str) -> list[Json]:
    """The symbolic links that the record of `root` names."""
    document = read_json(root + ".json")
    lines = document.get("links") if isinstance(document, dict) else None
    found = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    return [line for line in found if isinstance(line.get("path"), str) and isinstance(line.get("target"), str)]


def given_up(path: str, known: Json) -> bool:
    """True where a pushed file is gone on purpose: a store that was made from it holds the model. Its record stays."""
    return known.get("in_store") is True and not os.path.lexists(path)


def damaged(root: str, record: dict[str, Json]) -> list[str]:
    """Names in `record` that are missing below `root` or hold something else. Files with a known stamp are not read."""
    bad = []
    for name, known in record.items():
        try:
            path = inside(root, name)
            if given_up(path, known):
                continue
            now = entry(path, name, known)
        except OSError:
            bad.append(name)
            continue
        if (now["sha256"], now["mode"]) != (known.get("sha256"), known.get("mode")):
            bad.append(name)
    return bad


def remove_tree(path: str) -> bool:
    """Nothing is left at `path`; true when there was something. A mount point, also one below, is emptied and stays."""
    if not os.path.lexists(path):
        return False
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return True
    if not mounts(path):
        shutil.rmtree(path)
        return True
    changed = False
    for name in os.listdir(path):
        changed = remove_tree(os.path.join(path, name)) or changed
    return changed


def mounts(path: str) -> bool:
    """True when `path` is a mount point or one lies below it."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
            points = [line.split(" ")[1] for line in stream]
    except OSError:
        return os.path.ismount(path)
    real = os.path.realpath(path)
    return any(point == real or point.startswith(real + "/") for point in points)


def disk_full(error: OSError) -> bool:
    """True for "no space left" and "quota exceeded"."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def free_bytes(path: str) -> int:
    """Bytes that an unprivileged writer may still use where `path` is or will be."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
