"""What a host's programs are made for, what its processors are like, and which control groups its kernel has.

Python 3.8, standard library.
"""

from __future__ import annotations

import glob
import os
import struct

from hosttools import Gap, run
from rooted import Root


def userland() -> str:
    """Bits of a pointer in this Python, and the machine that its ELF header names: a kernel runs other programs too."""
    bits = "%d" % (8 * struct.calcsize("P"))
    try:
        head = Root("").read_bytes("/proc/self/exe", 20)
    except (OSError, Gap):
        return bits
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return bits
    return "%s %d" % (bits, struct.unpack(">H" if head[5] == 2 else "<H", head[18:20])[0])


def libc(root: Root) -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        loaders = sorted(glob.glob(root.top + "/lib/ld-musl-*.so.1"))
        if not loaders:
            raise Gap("missing", "neither glibc nor musl") from None
        words = run(loaders[0])[2].split()
        return "musl " + words[words.index("Version") + 1]


def cpu_topology(root: Root) -> str:
    lines = []
    for folder in glob.glob(root.top + "/sys/devices/system/cpu/cpu[0-9]*/topology"):
        place = folder[len(root.top) :]
        cpu = place.split("/")[-2][3:]
        lines.append(
            (int(cpu), root.read(place + "/core_id").strip(), root.read(place + "/physical_package_id").strip())
        )
    if not lines:
        raise Gap("missing", "no topology in sysfs")
    return "\n".join("%d %s %s" % line for line in sorted(lines))


def cpu_capacity(root: Root) -> str:
    """Each CPU's speed in its kernel's measure, 1024 for the fastest; only Arm and RISC-V kernels tell."""
    lines = []
    for path in glob.glob(root.top + "/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity"):
        place = path[len(root.top) :]
        lines.append((int(place.split("/")[-2][3:]), root.read(place).strip()))
    if not lines:
        raise Gap("missing", "this kernel knows no capacities")
    return "\n".join("%d %s" % line for line in sorted(lines))


def performance_cpus(root: Root) -> str:
    """The CPUs of the performance cores of an x86 processor that has others too."""
    return root.read("/sys/devices/cpu_core/cpus").strip()


def controllers(root: Root) -> str:
    """The control groups that the kernel has switched on."""
    path = "/sys/fs/cgroup/cgroup.controllers"
    if os.path.exists(root.top + path):
        return root.read(path).strip()
    rows = [line.split() for line in root.read("/proc/cgroups").split("\n") if not line.startswith("#")]
    return " ".join(row[0] for row in rows if len(row) == 4 and row[3] == "1")
