"""What could stand in the way on a host and is no fact of the hardware: raw text per source, or why there is none.

Runs on the host: Python 3.8, standard library, any user, writes nothing, never fails.
Parsing and judging happen on the controller.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import shutil
import socket
import struct
import sys
import threading
import time

from hostsources import collect
from hosttools import Gap, Once, clean, run, tool

ARGS, EMIT = globals()["ARGS"], globals()["EMIT"]  # the bootstrap's
ROOT: str = ARGS.get("root", "")  # a test's stand-in for "/"
NAME_SECONDS = 8.0  # glibc asks two servers twice, five seconds each; half of that is slow enough
TEXT_LIMIT = 16 * 1024
NAME = r"(?:[^@/\s]*@)?([A-Za-z0-9.-]+)"  # of a URL, behind user and password
LOCKS = (
    "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock",
)  # fmt: skip
MANAGERS = ("apt-get", "dnf", "apk", "zypper", "pacman")
DOCKER_KEYS = (
    "CgroupVersion", "CgroupDriver", "MemoryLimit", "CpuCfsQuota", "PidsLimit", "Warnings", "Runtimes", "Driver",
    "DockerRootDir", "CDISpecDirs", "ServerVersion", "LiveRestoreEnabled", "ContainersRunning",
)  # fmt: skip
MOST = 200


def read(path: str, limit: int = TEXT_LIMIT) -> str:
    with open(ROOT + path, "rb") as stream:
        return clean(stream.read(limit))


def ntp() -> str:
    return tool("timedatectl", "show", "-p", "NTPSynchronized", "-p", "NTP")


docker_document = Once(lambda: tool("docker", "info", "--format", "{{json .}}"))


def holder(path: str) -> int:
    """The process that holds the record lock of a file, as apt and dpkg take it; 0: nobody. Asking takes no lock."""
    handle = os.open(ROOT + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack("hhqqi4x", fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else process
    finally:
        os.close(handle)


def program(process: int) -> str:
    """What a process was started with; kernel threads have only a name."""
    for name in ("cmdline", "comm"):
        try:
            with open("/proc/%d/%s" % (process, name), "rb") as stream:
                said = clean(stream.read(200)).replace("\0", " ").strip()
        except OSError:
            return "unknown"
        if said:
            return said
    return "unknown"


def dpkg_locks() -> str:
    lines = []
    for path in LOCKS:
        if os.path.exists(ROOT + path):
            process = holder(path)
            if process:
                lines.append("%s %d %s" % (path, process, program(process)))
    return "\n".join(lines)


def package_manager() -> str:
    return " ".join(name for name in MANAGERS if shutil.which(name)) or "none"


def texts(*patterns: str) -> str:
    found = [path for pattern in patterns for path in sorted(glob.glob(ROOT + pattern)) if os.path.isfile(path)]
    lines = "\n".join(read(path[len(ROOT) :]) for path in found).split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "//")))


def names() -> list[str]:
    """Names that this host must be able to resolve: its own (sudo asks for it), and its package sources' or proxy's."""
    sources = texts("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")
    proxies = re.findall(r'Proxy\s+"https?://' + NAME, texts("/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*"))
    return list(dict.fromkeys([socket.gethostname(), *(proxies or re.findall("https?://" + NAME, sources))]))[:6]


def resolve(name: str, answers: dict[str, str]) -> None:
    began = time.monotonic()
    try:
        socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        answers[name] = "ok %.2f" % (time.monotonic() - began)
    except OSError as error:
        answers[name] = "failed %.2f %s" % (time.monotonic() - began, error.strerror or error)


def dns() -> str:
    answers: dict[str, str] = {}
    asked = names()
    for name in asked:
        threading.Thread(target=resolve, args=(name, answers), daemon=True).start()
    end = time.monotonic() + NAME_SECONDS
    while len(answers) < len(asked) and time.monotonic() < end:
        time.sleep(0.02)
    path = "/etc/resolv.conf"
    servers = re.findall(r"^nameserver\s+(\S+)", read(path), re.MULTILINE) if os.path.exists(ROOT + path) else []
    late = "failed %.2f no answer in time" % NAME_SECONDS
    return "\n".join(["servers " + " ".join(servers), *("%s %s" % (name, answers.get(name, late)) for name in asked)])


def systemd() -> str:
    state = run("systemctl", "is-system-running")[1].strip()
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")[1]
    return "\n".join([state, *(line.split()[0] for line in failed.split("\n") if line.split())][:MOST])


def docker_info() -> str:
    found = json.loads(docker_document())
    return json.dumps({name: found[name] for name in DOCKER_KEYS if name in found})


def nvidia_versions() -> str:
    """The kernel's driver and the libraries that programs load: they must be of one version."""
    kernel = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", read("/proc/driver/nvidia/version"))
    found = glob.glob(ROOT + "/usr/lib/*/libnvidia-ml.so.[0-9]*.*") + glob.glob(ROOT + "/usr/lib64/libnvidia-ml.so.*.*")
    libraries = sorted({path.rpartition(".so.")[2] for path in found})
    return "kernel %s\nlibrary %s" % (kernel.group(1) if kernel else "unknown", " ".join(libraries))


def cdi() -> str:
    lines = []
    for folder in ("/etc/cdi", "/run/cdi"):
        for path in sorted(glob.glob(ROOT + folder + "/*.yaml") + glob.glob(ROOT + folder + "/*.json")):
            text = read(path[len(ROOT) :], 1 << 20)
            if "nvidia.com/gpu" in text:
                version = re.search(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)", text)
                lines.append("%s %s" % (path[len(ROOT) :], version.group(1) if version else "unknown"))
    return "\n".join(lines)


def sudoers() -> str:
    lines = []
    for path in [ROOT + "/etc/sudoers", *sorted(glob.glob(ROOT + "/etc/sudoers.d/*"))]:
        for line in read(path[len(ROOT) :], 1 << 20).split("\n"):
            if re.match(r"\s*Defaults\S*\s.*(?<!!)\brequiretty\b", line):
                lines.append("%s %s" % (path[len(ROOT) :], line.strip()[:200]))
    return "\n".join(lines)


def listeners() -> str:
    """Who listens on which port: by the inode of the socket, which the process holds open."""
    ports = {}
    for name in ("tcp", "tcp6"):
        for row in read("/proc/net/" + name, 1 << 20).split("\n")[1:]:
            words = row.split()
            if len(words) > 9 and words[3] == "0A":
                ports["socket:[%s]" % words[9]] = int(words[1].rpartition(":")[2], 16)
    found = set()
    for folder in glob.glob("/proc/[0-9]*/fd") if ports else ():
        process = folder.split("/")[2]
        try:
            held = {os.readlink(folder + "/" + name) for name in os.listdir(folder)}
        except OSError:
            continue  # it ended meanwhile, or is another user's
        found |= {"%d %s %s" % (ports[link], process, program(int(process))) for link in held if link in ports}
    return "\n".join(sorted(found)[:MOST])


def oom_kills() -> str:
    found = re.search(r"^oom_kill (\d+)", read("/proc/vmstat", 1 << 18), re.MULTILINE)
    if found is None:
        raise Gap("missing", "this kernel does not count what it killed for memory")
    return found.group(1)


def throttled() -> str:
    path = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    return read(path, 64).strip() if os.path.exists(ROOT + path) else tool("vcgencmd", "get_throttled").strip()


SOURCES = {
    "ntp": ntp,
    "dpkg_locks": dpkg_locks,
    "package_manager": package_manager,
    "dns": dns,
    "systemd": systemd,
    "docker_info": docker_info,
    "nvidia_versions": nvidia_versions,
    "cdi": cdi,
    "sudoers": sudoers,
    "listeners": listeners,
    "machine_id": lambda: read("/etc/machine-id", 64).strip(),
    "oom_kills": oom_kills,
    "throttled": throttled,
    "selinux": lambda: read("/sys/fs/selinux/enforce", 8).strip(),
    "uid": lambda: str(os.geteuid()),
}


began = time.time()
answers = collect(SOURCES, TEXT_LIMIT, {}, {})
EMIT({"format": "phi4-edge/doctor-root/1", "sources": answers, "first": began, "last": time.time()})
sys.stdout.flush()
os._exit(0)  # a thread that hangs in a dead file system must not keep the connection open
