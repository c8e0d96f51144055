"""What kind of file system holds a path, where it is mounted and how: what free bytes do not tell.

Python 3.8, standard library.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, Iterable, List, Optional, Tuple

from rooted import Root

MOUNTINFO_LIMIT = 1 << 20  # 200 bytes for each of some 5,000 mounts: a host full of containers
MOST_MOUNTS = 20_000
FLAGS = ("ro", "noexec")

# Mount point, type, source, and options of the mount and of its file system.
Mount = Tuple[str, str, str, List[str]]


def plain(text: str) -> str:
    """The kernel writes blanks, tabs, line breaks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def mounts(root: Root) -> List[Mount]:
    found = []
    for line in root.read("/proc/self/mountinfo", MOUNTINFO_LIMIT).split("\n")[:MOST_MOUNTS]:
        head, dash, tail = line.partition(" - ")
        words, rest = head.split(" "), tail.split(" ", 2)
        if dash and len(words) > 5 and len(rest) == 3:
            options = [*words[5].split(","), *rest[2].split(",")]
            found.append((plain(words[4]), rest[0], rest[1], options))
    return found


def holding(found: Iterable[Mount], path: str) -> Optional[Mount]:
    """The mount that a path is on: the longest mount point, and the last of those that cover each other."""
    best: Optional[Mount] = None
    for mount in found:
        inside = mount[0] == "/" or path == mount[0] or path.startswith(mount[0] + "/")
        if inside and (best is None or len(mount[0]) >= len(best[0])):
            best = mount
    return best


def upper(root: Root, found: List[Mount], mount: Mount) -> str:
    """What holds the changes of an overlay, "?" where that cannot be seen from here: a container, or hidden at boot."""
    folder = next((plain(option[9:]) for option in mount[3] if option.startswith("upperdir=")), "")
    below = holding(found, folder) if folder and os.path.isdir(root.top + folder) else None
    return "?" if below is None or below is mount or below[1] == "overlay" else below[1]


def place(root: Root, found: Iterable[Mount], path: str) -> Tuple[str, Optional[Mount]]:
    """The nearest folder of a path that is there, and the mount that it is on."""
    there = path
    while there != "/" and not os.path.isdir(root.top + there):
        there = os.path.dirname(there)
    real = os.path.realpath(root.top + there)
    return there, holding(found, real[len(os.path.realpath(root.top)) :] or "/" if root.top else real)


def filesystems(root: Root, paths: Iterable[str]) -> str:
    """Lines "TYPE SOURCE FLAGS PATH"; TYPE of an overlay is "overlay:" and that of what holds its changes."""
    found, lines = mounts(root), []
    kinds: Dict[str, str] = {}
    for path in paths:
        _, mount = place(root, found, path)
        if mount is None:
            continue
        point, kind, source, options = mount
        if kind == "overlay":
            kinds[point] = kinds.get(point) or upper(root, found, mount)
            kind += ":" + kinds[point]
        flags = ",".join(flag for flag in FLAGS if flag in options) or "-"
        lines.append(" ".join((kind, source or "-", flags, path)))
    return "\n".join(lines)


def points(root: Root, paths: Iterable[str]) -> str:
    """Lines "FILES FREE FLAGS PATH<tab>POINT": inodes of the file system, and where it is mounted."""
    found, lines = mounts(root), []
    for path in paths:
        there, mount = place(root, found, path)
        if mount is None:
            continue
        numbers = os.statvfs(root.top + there)
        flags = ",".join(flag for flag in FLAGS if flag in mount[3]) or "-"
        lines.append("%d %d %s %s\t%s" % (numbers.f_files, numbers.f_favail, flags, path, mount[0]))
    return "\n".join(lines)


def errors(root: Root) -> str:
    """Lines "DEVICE COUNT" of the errors that ext4 has recorded in its superblock."""
    lines = []
    for path in sorted(glob.glob(root.top + "/sys/fs/ext4/*/errors_count")):
        count = root.read(path[len(root.top) :], 64).strip()
        if count != "0":
            lines.append("%s %s" % (path.split("/")[-2], count))
    return "\n".join(lines)
