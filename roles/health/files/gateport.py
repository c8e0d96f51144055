"""Who listens on a port, from /proc: the unit, or somebody else."""

from __future__ import annotations

import glob
import os
import socket
import sys
from typing import Iterator

from hostrun import clean


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


def stranger(port: int, unit: str) -> str:
    """Name and process id of who listens on `port` although it does not belong to the unit; "" for nobody."""
    for _inode, process, name, groups in holders(set(listeners(port))):
        if f"/{unit}" not in groups:
            return f"{name} (process {process})"
    return ""


def owned(address: str, port: int, group: str) -> bool:
    """True when the socket that gets what is sent to `address` belongs to the control group: the closest address wins.

    `group`: /<unit>, or a container's id, which Docker writes in several ways.
    """
    found = listeners(port)
    for candidate in (address, f"::ffff:{address}", "0.0.0.0", "::"):  # noqa: S104 - recognised, never listened on
        inodes = {inode for inode, place in found.items() if place == candidate}
        if inodes:
            return any(group in groups for _inode, _process, _name, groups in holders(inodes))
    return False
