"""What the machine under the lab offers: capabilities, CPUs, lxcfs, certificate authorities."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Bit numbers of linux/capability.h, which only grows at the end. PERFMON, BPF and CHECKPOINT_RESTORE (38 to 40) are
# left out: older Docker engines do not know their names, and SYS_ADMIN includes them.
# fmt: off
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
)
# fmt: on

# The files of /proc that lxcfs answers from the limits of the reader's container.
LXCFS_FILES = ("meminfo", "cpuinfo", "stat", "uptime", "swaps", "loadavg", "diskstats")
_LXCFS = Path("/var/lib/lxcfs")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Machine:
    """Facts of this machine that decide how a lab host is started. `ram_bytes` is all of its RAM."""

    capabilities: tuple[str, ...]
    cpus: tuple[int, ...]
    ram_bytes: int
    cgroup_v1: bool
    lxcfs_binds: tuple[str, ...]


def capabilities(status: str) -> tuple[str, ...]:
    """Names (without CAP_) in the bounding set of a /proc/<pid>/status text, of those in CAPABILITIES."""
    found = re.search(r"^CapBnd:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    mask = int(found.group(1), 16) if found else 0
    return tuple(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def lxcfs_binds(root: Path = _LXCFS) -> tuple[str, ...]:
    """Bind mounts that make a container's /proc tell its own limits; empty when no lxcfs is mounted at `root`."""
    pairs = [(root / "proc" / name, f"/proc/{name}") for name in LXCFS_FILES]
    online = "sys/devices/system/cpu/online"
    pairs.append((root / online, f"/{online}"))
    return tuple(f"{source}:{target}:rw" for source, target in pairs if source.is_file())


def inspect(engine_info: Mapping[str, object]) -> Machine:
    """This machine as its kernel and its Docker engine (`GET /info`) describe it."""
    return Machine(
        capabilities=capabilities(Path("/proc/self/status").read_text(encoding="ascii", errors="replace")),
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        ram_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_v1=str(engine_info.get("CgroupVersion", "1")) == "1",
        lxcfs_binds=lxcfs_binds(),
    )


def local_certificates(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Certificate authorities that this machine trusts beyond its distribution's, as PEM texts in the bundle's order.

    A machine behind a proxy that inspects TLS has one; hosts of the lab sit behind the same proxy.
    """
    bundle = next((p for p in (environ.get("SSL_CERT_FILE", ""), *_BUNDLES) if p and Path(p).is_file()), None)
    if bundle is None:
        return ()
    shipped: set[str] = set()
    for path in Path("/usr/share/ca-certificates").rglob("*.crt"):
        shipped.update(_bodies(path))
    return tuple(pem for pem in _bodies(Path(bundle)) if pem not in shipped)


def _bodies(path: Path) -> list[str]:
    """PEM blocks of a file with one kind of line end, so that equal certificates are equal texts."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    return [block.strip() + "\n" for block in _PEM.findall(text)]
