"""Who listens on a port, from /proc: the unit, or somebody else.

Neither a process's name nor what it answers proves anything; whose socket it is, only the kernel can say.
"""

from __future__ import annotations

import errno
import glob
import os
import pwd
import socket
import sys
from typing import Iterator

from hostrun import clean
from hostunit import SOCKET, shown

# systemd: it has the sockets of socket units open besides whoever they are handed to.
MANAGER = "1"


def listeners(port: int) -> dict[str, str]:
    """Address by inode of the TCP sockets that listen on `port`, from /proc/net/tcp and tcp6 (state 0A is LISTEN)."""
    found = {}
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        if not os.path.exists(table):
            continue
        with open(table) as stream:
            rows = [line.split() for line in stream][1:]
        for row in rows:
            address, _, number = row[1].rpartition(":")
            if row[3] == "0A" and int(number, 16) == port:
                found[row[9]] = socket.inet_ntop(family, packed(address))
    return found


def packed(words: str) -> bytes:
    """An address as the kernel prints it, as bytes in network order: each 32 bits are in the host's order."""
    numbers = (int(words[at : at + 8], 16) for at in range(0, len(words), 8))
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)


def holders(inodes: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """Inode, process id, name and control groups of every process that has one of these sockets open."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for link in glob.glob("/proc/[0-9]*/fd/*") if wanted else []:
        try:
            target = os.readlink(link)
            if target not in wanted:
                continue
            process = link.split("/")[2]
            with open(f"/proc/{process}/cgroup") as stream:
                groups = stream.read()
            with open(f"/proc/{process}/comm") as stream:
                yield wanted[target], process, clean(stream.read(), 40), groups
        except OSError:  # the process or its descriptor is gone
            continue


def paths(groups: str) -> dict[str, str]:
    """Path by hierarchy in the text of a process's /proc/<pid>/cgroup."""
    lines = [line.split(":", 2) for line in groups.splitlines()]
    return {words[0]: words[2] for words in lines if len(words) == 3}


def belongs(groups: str, group: str) -> bool:
    """Whether a process is in the control group of a unit, or of a container, that systemd itself has started.

    A user may give units of his own any name; they lie below `user.slice`, seen from where systemd's own groups begin.
    """
    try:
        with open(f"/proc/{MANAGER}/cgroup") as stream:
            top = paths(stream.read())
    except OSError:
        top = {}
    for number, path in paths(groups).items():
        base = top.get(number, "").replace("/init.scope", "").rstrip("/")
        parts = (path[len(base) :] if path.startswith(base + "/") else path).split("/")
        if "user.slice" not in parts and any(part == group or (len(group) == 64 and group in part) for part in parts):
            return True
    return False


def stranger(port: int, unit: str) -> str:
    """Name, process and user of who listens on `port` although it does not belong to the unit; "" for nobody."""
    found = listeners(port)
    handed = systemds(port)
    for _inode, process, name, groups in holders(set(found)):
        if not belongs(groups, unit) and not (process == MANAGER and handed):
            return f"{name} (process {process} of {owner(process)})"
    return ""


def owner(process: str) -> str:
    """The user of a process, by name where it has one."""
    try:
        number = os.stat(f"/proc/{process}").st_uid
    except OSError:
        return "a user that is gone"
    try:
        return f"user {clean(pwd.getpwuid(number).pw_name, 40)}"
    except KeyError:
        return f"user {number}"


def systemds(port: int) -> bool:
    """Whether systemd listens on `port` for the unit, with our socket unit."""
    state = shown(SOCKET, "ActiveState,Listen")
    # Listen=127.0.0.1:8080 (Stream)
    return state.get("ActiveState") == "active" and f":{port} (Stream)" in state.get("Listen", "")


def ours(address: str) -> bool:
    """Whether `address` is one of this host's: what another host answers there proves nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def nearest(address: str, port: int) -> set[str]:
    """Inodes of the sockets that get what is sent to `address`: the closest address wins."""
    found = listeners(port)
    for candidate in (address, f"::ffff:{address}", "0.0.0.0", "::"):  # noqa: S104 - recognised, never listened on
        inodes = {inode for inode, place in found.items() if place == candidate}
        if inodes:
            return inodes
    return set()


def owned(address: str, port: int, group: str) -> bool:
    """True when the socket that gets what is sent to `address` belongs to the control group.

    `group`: a unit, or a container's id, which Docker writes in several ways.
    """
    return any(belongs(groups, group) for _inode, _process, _name, groups in holders(nearest(address, port)))


def unprivileged(address: str, port: int) -> str:
    """Who has the socket that gets what is sent to `address`, where that is not root; "" for root and for nobody."""
    for _inode, process, name, _groups in holders(nearest(address, port)):
        try:
            root = os.stat(f"/proc/{process}").st_uid == 0
        except OSError:
            continue
        if not root:
            return f"{name} (process {process} of {owner(process)})"
    return ""
