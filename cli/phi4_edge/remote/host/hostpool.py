"""Which store of space a path's file system draws on: several file systems may share one, and each shows all of it.

Python 3.8, standard library. Subvolumes of btrfs, datasets of a ZFS pool and thin volumes have device numbers of their
own, so those do not tell.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Tuple

MOST_MOUNTS = 4 * 1024 * 1024
# Layers between a file system and its thin pool: encryption, another logical volume.
MOST_LAYERS = 4


def pool(path: str, root: str = "") -> str:
    """A name without spaces, the same for all paths that share their space; `path` or a parent of it exists."""
    while path != "/" and not os.path.exists(root + path):
        path = os.path.dirname(path)
    real = "/" + os.path.relpath(os.path.realpath(root + path), os.path.realpath(root or "/"))
    number, kind, source = mount("/" if real == "/." else real, root)
    if kind == "zfs":
        return "zfs:" + source.split("/")[0]
    anonymous = number.startswith("0:")
    block = "class/block/" + os.path.basename(os.path.realpath(source)) if anonymous else "dev/block/" + number
    thin = thin_pool("%s/sys/%s" % (root, block), MOST_LAYERS)
    if thin:
        return "thin:" + thin
    # What has no block device of its own is called after its source, which is a device only for some: tmpfs is not one.
    return "%s:%s" % (kind, source) if anonymous and source.startswith("/dev/") else "device:" + number


def mount(path: str, root: str) -> Tuple[str, str, str]:
    """Device number, type and source of the file system at `path`: of the last one mounted nearest above it."""
    best, found = -1, ("0:0", "", "")
    with open(root + "/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
        lines = stream.read(MOST_MOUNTS).split("\n")
    for line in lines:
        left, _, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if len(before) < 6 or len(after) < 2:
            continue
        point = plain(before[4]).rstrip("/")
        if (path + "/").startswith(point + "/") and len(point) >= best:
            best, found = len(point), (before[2], after[0], "".join(plain(after[1]).split()))
    if best < 0:
        raise ValueError("no mount holds %s" % path)
    return found


def plain(word: str) -> str:
    """What the kernel has written with octal escapes for spaces."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), word)


def thin_pool(block: str, layers: int) -> str:
    """The identity of the thin pool that a block device lies in, however deep; "" where it lies in none."""
    for under in sorted(glob.glob(block + "/slaves/*")) if layers else ():
        try:
            with open(under + "/dm/uuid", encoding="ascii", errors="replace") as stream:
                identity = "".join(stream.read(300).split())
        except OSError:
            continue  # a disk, no layer of the device mapper
        if identity.endswith("-tpool") or "-thinpool-" in identity:
            return identity
        deeper = thin_pool(under, layers - 1)
        if deeper:
            return deeper
    return ""
