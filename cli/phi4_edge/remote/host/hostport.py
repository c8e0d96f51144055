"""Ports that Docker holds for no container: the probe tells them, and before a start in containers ours is freed.

A release has this file as port.py, and its units run it as root before they start: Python 3.8, standard library only,
nothing else of ours.

When power is cut while a container starts, Docker restores its port at the next boot and may fail to let go of it
("Removing stale sandbox ... key modified"). A docker-proxy then listens for no container: clients are accepted and
never answered, and no container is given the port. To end that process is not enough, as Docker goes on counting the
port as taken; a restart of Docker is. That is done once per boot, and only where it stops nothing of others.

    port.py ADDRESS PORT [ROOT]     ROOT: a test's stand-in for "/"
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any, Tuple

# Processes that hold a published port; without the first one Docker does so itself.
PUBLISHERS = ("docker-proxy", "dockerd")
# Holds the process of Docker that was restarted. Gone after a reboot.
MARK = "/run/phi4-edge-docker-restarted"
# A port that is on its way to or from a container is not held for nobody.
LOOKS, PAUSE = 5, 1.0
# systemd ends us together with Docker, and starts us again behind it.
RESTART_SECONDS = 60.0
DOCKER, DOCKER_SECONDS, DOCKER_LIMIT = "/run/docker.sock", 5, 8 << 20
# Units that systemd restarts with Docker.
BOUND = "RequiredBy,RequisiteOf,BoundBy,ConsistsOf"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (recognised, never listened on)
Place = Tuple[str, int]
UNKNOWN = (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException)


class Local(http.client.HTTPConnection):
    """HTTP to Docker's socket. Not by Docker's command: as root it would take settings that others may have left."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DOCKER_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DOCKER_SECONDS)
        self.sock.connect(self.path)


def docker(root: str, path: str) -> Any:
    """Docker's answer. Raises one of UNKNOWN without any."""
    way = Local(root + DOCKER)
    try:
        way.request("GET", path)
        response = way.getresponse()
        if response.status != 200:
            raise ValueError("HTTP %d" % response.status)
        return json.loads(response.read(DOCKER_LIMIT).decode("utf-8", "replace"))
    finally:
        way.close()


def systemctl(root: str, *words: str) -> str:
    """What systemctl says, "" where it fails."""
    path = os.pathsep.join(root + folder for folder in ("/usr/bin", "/bin"))
    program = next((p for p in (f + "/systemctl" for f in path.split(os.pathsep)) if os.path.exists(p)), "systemctl")
    done = subprocess.run([program, *words], stdout=subprocess.PIPE, env={"PATH": path}, timeout=30, check=False)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def listeners(root: str) -> dict[str, Place]:
    """Address and port of each socket that listens. A unit may have a network of its own: the host's is process 1's."""
    found = {}
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = root + "/proc/1/net/" + name
        if not os.path.exists(path):
            continue
        with open(path, encoding="ascii", errors="replace") as stream:
            rows = [line.split() for line in stream][1:]
        for row in rows:
            if row[3] != "0A":
                continue
            words, _, port = row[1].partition(":")
            numbers = (int(words[at : at + 8], 16) for at in range(0, len(words), 8))
            address = socket.inet_ntop(family, b"".join(number.to_bytes(4, sys.byteorder) for number in numbers))
            found["socket:[%s]" % row[9]] = (address, int(port, 16))
    return found


def opened(folder: str) -> set[str]:
    """What a process has open; nothing of one that has ended."""
    found = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(os.path.join(folder, name)))
    except OSError:
        return found
    return found


def held(root: str, port: int = 0) -> set[Place]:
    """Where processes of Docker listen; with a `port`, on that one."""
    wanted = {link: place for link, place in listeners(root).items() if port in (0, place[1])}
    found: set[Place] = set()
    for process in filter(str.isdigit, os.listdir(root + "/proc")) if wanted else ():
        folder = os.path.join(root + "/proc", process)
        try:
            with open(folder + "/comm", encoding="utf-8", errors="replace") as stream:
                name = stream.read().strip()
            ours = os.stat(folder).st_uid == os.geteuid()  # anybody may call a program docker-proxy
        except OSError:
            continue
        if ours and name in PUBLISHERS:
            found |= {wanted[link] for link in opened(folder + "/fd") if link in wanted}
    return found


def running(root: str) -> list[dict[str, Any]]:
    """The containers that run now. Raises one of UNKNOWN for an answer that is no list of them."""
    found = docker(root, "/containers/json")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("Docker gives no list of its containers")
    return found


def orphans(root: str, looks: int, port: int = 0) -> set[Place]:
    """What Docker holds for no container, at each of several looks. Raises one of UNKNOWN where nobody can say."""
    found = held(root, port)
    for look in range(looks):
        if look:
            time.sleep(PAUSE)
            found &= held(root, port)
        if not found:
            break
        given = {each.get("PublicPort") for item in running(root) for each in item.get("Ports") or ()}
        found = {place for place in found if place[1] not in given}
    return found


def in_the_way(place: Place, address: str) -> bool:
    """Whether who listens there keeps others from listening on the same port of `address`."""
    return place[0] == address or place[0] in EVERYWHERE or address in EVERYWHERE


def others(root: str) -> list[str]:
    """What a restart of Docker would stop that is not ours: containers, and units that systemd restarts with it."""
    names = [
        str((item.get("Names") or ["/?"])[0]).lstrip("/")
        for item in running(root)
        if "phi4-edge.release" not in (item.get("Labels") or {})
    ]
    if docker(root, "/info").get("LiveRestoreEnabled") is True:
        names = []
    units = re.findall(r"[^\s=]+\.service", systemctl(root, "show", "docker.service", "-p", BOUND))
    bound = [unit for unit in units if not unit.startswith("phi4-edge")]
    return names + [unit for unit in bound if systemctl(root, "is-active", unit).strip() == "active"]


def first_time(root: str, process: str) -> bool:
    """Whether nobody has restarted Docker for this since the host came up; noted for this `process` of it."""
    try:
        handle = os.open(root + MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as stream:
        stream.write(process)
    return True


def under_way(root: str, process: str) -> bool:
    """Whether it is just that `process` which another unit of ours has asked systemd to restart."""
    handle = os.open(root + MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle) as stream:
        return bool(process) and stream.read(40) == process


def say(text: str) -> None:
    """A line for the unit's journal."""
    os.write(2, (text + "\n").encode())


def heal(root: str, place: str) -> int:
    """Docker is being restarted where that is harmless; else the journal says why it is not, and what to do."""
    told = "Docker holds %s for no container, as it may after a power cut in the middle of a start" % place
    stopped = others(root)
    if stopped:
        names = ", ".join(re.sub(r"[^ -~]", "?", name)[:60] for name in stopped[:5])
        say("%s. Restarting Docker frees it and would stop %s, so do that when it suits: systemctl restart docker"
            % (told, names + (" and %d more" % (len(stopped) - 5) if len(stopped) > 5 else "")))  # fmt: skip
        return 1
    process = systemctl(root, "show", "docker.service", "-p", "MainPID").strip().partition("=")[2]
    if first_time(root, process):
        say("%s: restarting Docker, which frees it and stops nothing of others" % told)
        systemctl(root, "--no-block", "restart", "docker.service")
    elif not under_way(root, process):
        say("%s, and Docker was restarted for that since the host came up: see journalctl -u docker" % told)
        return 1
    time.sleep(RESTART_SECONDS)
    return 1


def main(words: list[str]) -> int:
    """0: nothing is in the way, or nobody knows. A start that fails says more than we could."""
    address, port, root = words[0], int(words[1]), "".join(words[2:3])
    try:
        found = [place for place in orphans(root, LOOKS, port) if in_the_way(place, address)]
        return heal(root, "%s:%d" % found[0]) if found else 0
    except UNKNOWN as error:
        say("whether Docker holds port %d for no container is not known: %s" % (port, error))
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
