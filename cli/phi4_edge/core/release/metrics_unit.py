"""The unit of what says at the gateway's /metrics how the host is. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.inventory import EVERYWHERE
from phi4_edge.core.release import haproxy_unit

# The program, and the modules that it imports from beside it.
PROGRAM = "exporter.py"
OWN_MODULES = ("metrics_fetch.py", "metrics_host.py", "metrics_served.py", "metrics_text.py", "metrics_units.py")
HOST_MODULES = ("hostpath.py", "hosttools.py")
PROGRAMS = (PROGRAM, *OWN_MODULES, *HOST_MODULES)


def service(plan: Plan, release: str) -> str:
    """Return the unit of a host that has a gateway; `release`: the release's directory."""
    return unit_lines.text(_service(plan, release))


def _service(plan: Plan, release: str) -> Iterator[str]:
    gpu, there, front = plan["accelerator"] == "cuda", layout.of(plan), plan["gateway"]
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (its metrics)"
    yield from ("After=network.target\nStartLimitIntervalSec=0", "", "[Service]\nType=exec")
    yield f"ExecStart=/usr/bin/env python3 -IB {release}/{PROGRAM} {there.root} {there.state}"
    yield "# Each thread would have a heap of its own.\nEnvironment=MALLOC_ARENA_MAX=2"
    yield "SyslogIdentifier=phi4-edge-metrics\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=50"
    yield from ("TimeoutStopSec=5\nRestart=always\nRestartSec=5", "")
    yield "# Some 25 MB of its own, and what systemctl and nvidia-smi take.\nMemoryMax=128M\nOOMScoreAdjust=300"
    yield "TasksMax=64\nLimitCORE=0"
    yield from ("# Next to nothing to do, and never at the cost of an answer.\nNice=10", "")
    yield "# Not DynamicUser: D-Bus, which systemctl asks, refuses a user that is in no list. It writes nothing. Older"
    yield "# systemd makes the mount points below with the mask, and it must get past them."
    yield from (f"User={haproxy_unit.USER}\nUMask=0022", unit_lines.UNPRIVILEGED)
    if gpu:
        yield "# The GPU's driver is asked through its devices.\nDevicePolicy=closed\nDeviceAllow=char-nvidia* rw"
    else:
        yield "PrivateDevices=yes"
    yield from (unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED, "ProtectProc=invisible")
    yield '# ProcSubset stays "all": it says how much memory the host has, and how busy it is.'
    yield f"TemporaryFileSystem={unit_lines.hidden(unit_lines.INSTALLATIONS[1:], there)}"
    yield f"BindReadOnlyPaths={there.root} {there.state}"
    yield "NoExecPaths=/tmp /var/tmp /dev/shm\nLockPersonality=yes"
    if not gpu:
        yield "MemoryDenyWriteExecute=yes"
    yield from (unit_lines.RESTRICTED, "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources")
    yield "SystemCallErrorNumber=EPERM\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    yield f"SocketBindDeny=any\nSocketBindAllow=tcp:{front['exporter_port']}\nIPAddressDeny=any"
    asked = sorted({plan["bind"], front["bind"]} - EVERYWHERE.keys())
    far = [each for each in asked if not unit_lines.is_loopback(each)]
    yield f"IPAddressAllow={' '.join(['localhost', *far])}"
    yield from ("", "[Install]\nWantedBy=multi-user.target")
