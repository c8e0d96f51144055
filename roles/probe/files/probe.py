"""What a host says about itself: raw text per source, or the reason why there is none.

Runs on the host, sent over standard input with the modules that it imports: Python 3.8, standard library, any user,
writes nothing, never fails. Parsing and deciding happen on the controller.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import sys
import time
from typing import Callable, Dict

import cgroups
import credentials
import displays
import dpkg
import gpus
import hostimages
import hostlayout
import hostpool
import machine
import mounts
from hostlockstate import LOCK_BEAT, lock_journal, lock_status
from hostreceipt import verify
from hostsources import SOURCE_SECONDS, collect
from hosttools import Gap, Once, ranges, run, standing, tool
from rooted import TEXT_LIMIT, Root

ARGS, EMIT = globals()["ARGS"], globals()["EMIT"]  # the bootstrap's
ROOT: str = ARGS.get("root", "")  # a test's stand-in for "/"
OURS: tuple[str, str] = (ARGS["layout"]["root"], ARGS["layout"]["state"])  # where what is installed is looked for
FILES = Root(ROOT)
read, read_bytes, first = FILES.read, FILES.read_bytes, FILES.first
VERIFY_SECONDS: float = ARGS.get("verify_seconds", 120)  # a 2.4 GB model at the 40 MB/s of an SD card takes 60
CPUINFO_LIMIT = 512 * 1024  # 1.5 KiB for each of 256 threads, with room
UNITS = ("phi4-edge.service", "phi4-edge.socket", "phi4-edge-load.service", "docker.service", "phi4-edge-heal.timer",
         "phi4-edge-gateway.service", "phi4-edge-guard.service")  # fmt: skip
UNIT_FIELDS = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,MainPID,Description,StatusText,"
    "ActiveEnterTimestampMonotonic,NeedDaemonReload"
)
DOCKER_FIELDS = "{{.Driver}} {{.DriverStatus}}\n{{.DockerRootDir}}"
PORT_LOOKS = 2
DOCKER_SOCKET = "/run/docker.sock"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def paths() -> list[str]:
    """What is measured: where something of ours goes, each once."""
    return list(dict.fromkeys((*OURS, *roots(), "/etc")))


def disk() -> str:
    lines = []
    for path in paths():
        there = path
        while there != "/" and not os.path.isdir(ROOT + there):
            there = os.path.dirname(there)
        numbers = os.statvfs(ROOT + there)
        size, free = numbers.f_blocks * numbers.f_frsize, numbers.f_bavail * numbers.f_frsize
        lines.append("%s %d %d %d" % (path, size, free, os.stat(ROOT + there).st_dev))
    return "\n".join(lines)


def closed(path: str) -> bool:
    """Whether a directory above is not for every user to pass: then only root gets to what lies there."""
    above = os.path.dirname(path)
    while above != "/":
        if os.path.isdir(ROOT + above) and not os.stat(ROOT + above).st_mode & stat.S_IXOTH:
            return True
        above = os.path.dirname(above)
    return False


def our_disk() -> str:
    lines = []
    for top in OURS:
        seen: Dict[int, int] = {}
        there = "closed" if closed(top) else standing(ROOT + top)
        if there == "ours" and os.path.isdir(ROOT + top):
            count(ROOT + top, top, seen)
        lines.append("%s %d %s" % (top, sum(seen.values()), there))
    return "\n".join(lines)


def count(folder: str, top: str, seen: Dict[int, int]) -> None:
    """`seen` holds the bytes on disk of every file below, by inode; a directory that is gone meanwhile has none."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    seen[entry.inode()] = entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return
    if len(seen) > 500000:
        raise Gap("nonsense", "more than 500000 files below " + top)
    for path in below:
        # One of ours may lie in the other, and counts for itself.
        if path[len(ROOT) :] not in OURS:
            count(path, top, seen)


def device_tree(name: str) -> str:
    return first("/proc/device-tree/" + name, "/sys/firmware/devicetree/base/" + name).strip("\0").replace("\0", "\n")


def modules() -> str:
    lines = read("/proc/modules", 16 * TEXT_LIMIT).split("\n")
    return "\n".join(line for line in lines if "nvidia" in line.split(" ")[0] or "nouveau" in line.split(" ")[0])


def secure_boot() -> str:
    return "enabled" if read_bytes(SECURE_BOOT, 5)[4:] == b"\1" else "disabled"


def reboot_required() -> str:
    if os.path.exists(ROOT + "/run/reboot-required"):
        packages = ROOT + "/run/reboot-required.pkgs"
        return "yes\n" + (read("/run/reboot-required.pkgs") if os.path.exists(packages) else "")
    if not os.path.exists(ROOT + "/etc/debian_version"):
        raise Gap("missing", "only Debian and Ubuntu leave a note")
    return "no"


def init() -> str:
    try:
        state = run("systemctl", "is-system-running")[1].strip()
    except Gap as gap:
        state = gap.args[0]
    return "%s %s" % (read("/proc/1/comm").strip(), state)


def compose() -> str:
    try:
        return tool("docker", "compose", "version", "--short")
    except Gap:
        return tool("docker-compose", "version", "--short")


def called_docker() -> str:
    """What calls itself docker: Podman does, by a link to its own program or behind Docker's socket."""
    said = tool("docker", "--version").split("\n")[0]
    try:
        return said + "\n" + tool("docker", "version", "--format", "{{range .Server.Components}}{{.Name}} {{end}}")
    except Gap:
        return said


docker_program, docker_info = Once(called_docker), Once(lambda: tool("docker", "info", "--format", DOCKER_FIELDS))


def is_podman() -> bool:
    try:
        return "podman" in docker_program().lower()
    except Gap:
        return False


def roots() -> tuple[str, str]:
    """Where Docker and containerd keep images. What Podman says is nothing of a Docker that will be installed."""
    try:
        said = docker_info().partition("\n")[2]
    except Gap:
        said = ""
    return hostimages.roots("" if said and is_podman() else said, ROOT)


def daemon_json() -> str:
    return "%d" % os.stat(ROOT + "/etc/docker/daemon.json").st_size


def listening() -> str:
    lines = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for row in read("/proc/net/" + name, 1 << 20).split("\n")[1:]:
            words = row.split()
            if len(words) > 3 and words[3] == "0A":
                address, port = words[1].split(":")
                packed = b"".join(
                    int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)
                )
                lines.add("%s %d" % (socket.inet_ntop(family, packed), int(port, 16)))
    return "\n".join(sorted(lines)[:500])


def memory_kills() -> str:
    """What the control group of our unit counts; gone with each start of the unit."""
    inside = "/system.slice/phi4-edge.service/memory."
    text = first("/sys/fs/cgroup" + inside + "events", "/sys/fs/cgroup/memory" + inside + "oom_control")
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    if found is None:
        raise Gap("missing", "this kernel does not count what it killed for memory")
    return found.group(1)


def orphaned_ports() -> str:
    if not os.path.exists(ROOT + DOCKER_SOCKET):
        raise Gap("missing", "no Docker")
    import hostport

    if os.geteuid() and not ROOT:
        raise Gap("denied", "only root sees whose a socket is")
    try:
        found = hostport.orphans(ROOT, PORT_LOOKS)
    except hostport.UNKNOWN as error:
        raise Gap("failed", "%s: %s" % (type(error).__name__, error)) from None
    return "\n".join(sorted("%s %d" % place for place in found)[:100])


def installed() -> str:
    root, state = hostlayout.installed(ROOT)
    if not root:
        raise Gap("missing", "no unit of ours")
    return "%s %s" % (root, state or "-")


def journal() -> str:
    found = lock_journal(OURS[1], ROOT)
    if found is None:
        raise Gap("missing", "no journal")
    return json.dumps(found)


SOURCES: Dict[str, Callable[[], str]] = {
    "python": lambda: "%d.%d.%d %s" % (*sys.version_info[:3], sys.executable),
    "uname": lambda: " ".join(os.uname()[index] for index in (0, 2, 4)),
    "userland": machine.userland,
    "libc": lambda: machine.libc(FILES),
    "os_release": lambda: first("/etc/os-release", "/usr/lib/os-release"),
    "meminfo": lambda: read("/proc/meminfo"),
    "cpuinfo": lambda: read("/proc/cpuinfo", CPUINFO_LIMIT),
    "cpu_affinity": lambda: ranges(os.sched_getaffinity(0)),
    "cpu_topology": lambda: machine.cpu_topology(FILES),
    "cpu_capacity": lambda: machine.cpu_capacity(FILES),
    "performance_cpus": lambda: machine.performance_cpus(FILES),
    "cgroup": lambda: cgroups.limits(FILES),
    "cgroup_controllers": lambda: machine.controllers(FILES),
    "service_cgroup": lambda: cgroups.service_limits(FILES),
    "service_affinity": cgroups.service_affinity,
    "disk": disk,
    "disk_pool": lambda: "\n".join("%s %s" % (path, hostpool.pool(path, ROOT)) for path in paths()),
    "our_disk": our_disk,
    "filesystems": lambda: mounts.filesystems(FILES, paths()),
    "mount_points": lambda: mounts.points(FILES, (*paths(), dpkg.FOLDER)),
    "filesystem_errors": lambda: mounts.errors(FILES),
    "package_state": lambda: dpkg.state(FILES),
    "pci": lambda: displays.controllers(ROOT),
    "pci_drivers": lambda: displays.drivers(ROOT),
    "nvidia_smi": lambda: gpus.nvidia_smi(gpus.FIELDS),
    "nvidia_modes": lambda: gpus.nvidia_smi(gpus.MODES),
    "nv_tegra_release": lambda: read("/etc/nv_tegra_release"),
    "device_tree_model": lambda: device_tree("model"),
    "device_tree_compatible": lambda: device_tree("compatible"),
    "modules": modules,
    "secure_boot": secure_boot,
    "reboot_required": reboot_required,
    "init": init,
    "systemd": lambda: tool("systemctl", "--version").split("\n")[0],
    "docker": lambda: tool("docker", "version", "--format", "{{.Server.Version}}"),
    "compose": compose,
    "docker_program": docker_program,
    "docker_info": docker_info,
    "image_roots": lambda: "docker %s\ncontainerd %s" % roots(),
    "daemon_json": daemon_json,
    "docker_snap": lambda: "yes" if os.path.isdir(ROOT + "/snap/docker") else "no",
    "runc": lambda: tool("runc", "--version").split("\n")[0],
    "nvidia_ctk": lambda: tool("nvidia-ctk", "--version").split("\n")[0],
    "uid": lambda: str(os.geteuid()),
    "hostname": socket.gethostname,
    "boot_id": lambda: read("/proc/sys/kernel/random/boot_id").strip(),
    "listening": listening,
    "orphaned_ports": orphaned_ports,
    "guard": lambda: credentials.guarded(OURS[0], ROOT),
    "service": lambda: tool("systemctl", "show", *UNITS, "-p", UNIT_FIELDS),
    "clock": lambda: "%d %d" % (time.time(), time.monotonic() * 1e6),
    "memory_kills": memory_kills,
    "receipt": lambda: json.dumps(verify(OURS, ROOT, VERIFY_SECONDS, ARGS.get("deep", False))),
    "lock": lambda: json.dumps(lock_status(OURS[1], LOCK_BEAT, ROOT)),
    "journal": journal,
    "installed": installed,
    "bench": lambda: read(OURS[1] + "/bench.json"),  # what was measured here
    "gateway": lambda: credentials.told(OURS[1], ROOT),
}
LIMITS = {"cpuinfo": CPUINFO_LIMIT, "receipt": 4 * TEXT_LIMIT}


longest = {"receipt": VERIFY_SECONDS + SOURCE_SECONDS}
EMIT({"format": "phi4-edge/facts/1", "sources": collect(SOURCES, TEXT_LIMIT, LIMITS, longest)})
sys.stdout.flush()
os._exit(0)  # a thread that hangs in a dead file system must not keep the connection open
