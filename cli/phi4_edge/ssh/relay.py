"""Runs on a host: connects standard input and output to a TCP port of it, after one line that says who has that port.

The standard library of Python 3.8 alone; it is sent as text. It changes nothing, and ends when either side does. What
it needs is readable for every user; which process of another user holds a socket shows only to root.

    python3 -IBc TEXT MARK ADDRESS PORT     writes "MARK {...}" on a line of its own, then what the port sends
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

UNIT, SOCKET_UNIT = "phi4-edge.service", "phi4-edge.socket"
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
# Where systemd keeps its groups of processes: version 2 alone, beside version 1, and version 1.
GROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
CONNECT_SECONDS = 10.0
ACCEPT_SECONDS = 1.0  # an engine that is up accepts at once; one that is starting is told by its listener
MOST = 64  # of listeners, holders and processes that are told
LISTEN, ESTABLISHED = "0A", "01"
PIECE = 65536


def sockets(state: str) -> Iterator[tuple[tuple[str, int], tuple[str, int], int, str]]:
    """Own address, other address, user and inode of each TCP socket of this host in a state."""
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        if not os.path.exists(table):
            continue
        with open(table) as stream:
            next(stream)
            for line in stream:
                row = line.split()
                if row[3] == state:
                    yield place(row[1], family), place(row[2], family), int(row[7]), row[9]


def place(words: str, family: int) -> tuple[str, int]:
    """An address and a port as the kernel prints them: each 32 bits in the host's order; IPv4 within IPv6 as IPv4."""
    address, _, port = words.rpartition(":")
    numbers = (int(address[at : at + 8], 16) for at in range(0, len(address), 8))
    text = socket.inet_ntop(family, b"".join(number.to_bytes(4, sys.byteorder) for number in numbers))
    return (text[7:] if text.startswith("::ffff:") else text), int(port, 16)


def listeners(address: str, port: int) -> list[tuple[int, str]]:
    """User and inode of the sockets that get what is sent to `address`: the closest address wins."""
    found = [(own, user, inode) for own, _, user, inode in sockets(LISTEN) if own[1] == port]
    for candidate in (address, "0.0.0.0", "::"):  # noqa: S104  (recognised, never listened on)
        closest = [(user, inode) for own, user, inode in found if own[0] == candidate]
        if closest:
            return closest[:MOST]
    return []


def accepted(peer: socket.socket) -> tuple[int, str] | None:
    """User and inode of the other end of a connection to this host; None while nobody has taken it there."""
    here, there = peer.getsockname()[:2], peer.getpeername()[:2]
    end = time.monotonic() + ACCEPT_SECONDS
    while True:
        for own, other, user, inode in sockets(ESTABLISHED):
            if own == there and other == here and inode != "0":
                return user, inode
        if time.monotonic() > end:
            return None
        time.sleep(0.02)


def holders(inodes: set[str]) -> list[dict[str, Any]]:
    """Every process that has one of these sockets open. All of them show to root alone."""
    wanted, found = {f"socket:[{inode}]" for inode in inodes}, []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if not wanted.isdisjoint(opened(f"/proc/{process}/fd")):
                found.append(described(process))
        except OSError:  # the process is gone
            continue
    return found[:MOST]


def opened(folder: str) -> Iterator[str]:
    """What the descriptors of a process are; those that are closed meanwhile are nothing."""
    for name in os.listdir(folder):
        try:
            yield os.readlink(f"{folder}/{name}")
        except OSError:
            continue


def described(process: str) -> dict[str, Any]:
    """A process as it is told: number, name, user, and whether it belongs to our unit."""
    with open(f"/proc/{process}/comm", errors="replace") as stream:
        name = re.sub(r"[^ -~]", "?", stream.read().strip())[:40]
    with open(f"/proc/{process}/cgroup") as stream:
        ours = of_unit(stream.read())
    return {"process": int(process), "name": name, "user": user_of(process), "ours": ours}


def of_unit(groups: str) -> bool:
    """Whether a process's control groups are those of our unit. A user may give that name to units of his own."""
    parts = [line.strip().split("/") for line in groups.splitlines()]
    return any(UNIT in part and "user.slice" not in part for part in parts)


def user_of(process: str) -> int:
    """The effective user of a process."""
    with open(f"/proc/{process}/status") as stream:
        return next(int(line.split()[2]) for line in stream if line.startswith("Uid:"))


def unit_users() -> list[int] | None:
    """The users of our unit's processes, none when it does not run; None where its group cannot be looked into."""
    for root in GROUP_ROOTS:
        if not os.path.isdir(root + "/system.slice"):
            continue
        try:
            with open(f"{root}/system.slice/{UNIT}/cgroup.procs") as stream:
                return users_of(stream.read().split()[:MOST])
        except FileNotFoundError:
            return []
        except OSError:
            return None
    return None


def users_of(processes: list[str]) -> list[int] | None:
    """The users of processes that may have ended meanwhile; None where there are some and all are hidden."""
    found = set()
    for process in processes:
        try:
            found.add(user_of(process))
        except OSError:
            continue
    return sorted(found) if found or not processes else None


def unit_text(name: str) -> str:
    """The unit's file; "" where it is not installed."""
    for folder in UNIT_FOLDERS:
        try:
            with open(os.path.join(folder, name), errors="replace") as stream:
                return stream.read(PIECE)
        except OSError:
            continue
    return ""


def name_of(user: int) -> str:
    """A user's name, "" without one."""
    try:
        return re.sub(r"[^!-~]", "?", pwd.getpwuid(user).pw_name)[:40]
    except KeyError:
        return ""


def report(peer: socket.socket, address: str, port: int) -> dict[str, Any]:
    """What can be seen of who has the port; `root`: whether all of it could be."""
    taken, waiting = accepted(peer), listeners(address, port)
    root = os.geteuid() == 0
    seen = {taken[1]} if taken else {inode for _, inode in waiting}
    held = holders(seen) if root else []
    users = ({taken[0]} if taken else set()) | {user for user, _ in waiting} | {item["user"] for item in held}
    return {
        "accepted": taken[0] if taken else None,
        "listeners": sorted({user for user, _ in waiting}),
        "root": root,
        "holders": held,
        "unit": unit_users(),
        "socket_unit": bool(unit_text(SOCKET_UNIT)),
        "containers": "docker.service" in unit_text(UNIT),
        "users": {str(user): name_of(user) for user in users},
    }


def looked(peer: socket.socket, address: str, port: int) -> dict[str, Any]:
    """The report, or why there is none: a host that hides it, or has no /proc."""
    try:
        return report(peer, address, port)
    except (OSError, ValueError, IndexError, StopIteration) as error:
        return {"unknown": re.sub(r"[^ -~]", "?", str(error) or type(error).__name__)[:200]}


def refused(error: OSError, address: str, port: int) -> dict[str, str]:
    """Why there is no connection. `guarded`: somebody listens there, and this user is kept out; root never is."""
    why = re.sub(r"[^ -~]", "?", str(error))[:200]
    try:
        kept_out = isinstance(error, ConnectionRefusedError) and os.geteuid() != 0 and bool(listeners(address, port))
    except (OSError, ValueError, IndexError, StopIteration):
        kept_out = False  # the host hides its sockets
    return {"guarded" if kept_out else "refused": why}


def told(peer: socket.socket, address: str, port: int) -> bytes:
    """The same as text."""
    return json.dumps(looked(peer, address, port)).encode()


def write(data: bytes) -> None:
    """All of it is on standard output."""
    while data:
        data = data[os.write(1, data) :]


def say(mark: str, text: bytes) -> None:
    """The line that comes first; what a login shell wrote before it does not matter."""
    write(b"\n" + mark.encode() + b" " + text + b"\n")


def send(peer: socket.socket) -> None:
    """Standard input goes to the port; its end is the end of everything, as nobody waits for an answer any more."""
    try:
        while True:
            data = os.read(0, PIECE)
            if not data:
                os._exit(0)
            peer.sendall(data)
    except OSError:
        os._exit(0)


def main() -> None:
    """Standard output has the line and then all that the port sent, until it or the reader ends."""
    mark, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        peer = socket.create_connection((address, port), CONNECT_SECONDS)
    except OSError as error:
        say(mark, json.dumps(refused(error, address, port)).encode())
        return
    peer.settimeout(None)
    say(mark, told(peer, address, port))
    threading.Thread(target=send, args=(peer,), daemon=True).start()
    try:
        while True:
            data = peer.recv(PIECE)
            if not data:
                break
            write(data)
    except OSError:
        pass  # the reader or the service is gone
    os._exit(0)


if __name__ == "__main__":
    main()
