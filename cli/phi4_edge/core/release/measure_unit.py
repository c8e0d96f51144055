"""The unit of what measures prompts for the gateway, where the engine would cut one that is too long. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.release import haproxy_unit

# The program, the modules that it imports from beside it, and what HAProxy asks it with.
PROGRAM, ASKING = "measure.py", "measure.lua"
MODULES = ("measure_count.py", "measure_gguf.py", "measure_model.py", "measure_prompt.py", "measure_tools.py")
PROGRAMS = (PROGRAM, *MODULES, ASKING)
SOCKET = f"/run/{layout.MEASURE_RUN}/socket"


def wanted(plan: Plan) -> bool:
    """Return whether the host of a plan measures prompts: it has a gateway, and an engine that would cut them."""
    return plan.get("gateway") is not None and ENGINES[plan["engine"]].serving.cuts_beyond is not None


def service(plan: Plan, release: str) -> str:
    """Return the unit; `release`: the release's directory."""
    return unit_lines.text(_service(layout.of(plan), release))


def _service(there: layout.Layout, release: str) -> Iterator[str]:
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (how long prompts are)"
    yield from ("StartLimitIntervalSec=0", "", "[Service]\nType=exec")
    yield f"ExecStart=/usr/bin/env python3 -IB {release}/{PROGRAM} {SOCKET}"
    yield "# Each thread would have a heap of its own.\nEnvironment=MALLOC_ARENA_MAX=2"
    yield "SyslogIdentifier=phi4-edge-measure\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=50"
    yield from ("TimeoutStopSec=5\nRestart=always\nRestartSec=5", "")
    yield "# Some 60 MB while it reads a vocabulary, 30 afterwards.\nMemoryMax=128M\nOOMScoreAdjust=300"
    yield "TasksMax=64\nLimitCORE=0\n# Before the engine has a prompt to answer, and never at the cost of an answer."
    yield from ("Nice=5", "")
    yield "# The gateway's user, to whom the socket belongs. It writes nothing else. Older systemd makes the mount"
    yield "# points below with the mask, and it must get past them."
    yield from (f"User={haproxy_unit.USER}\nUMask=0022", unit_lines.UNPRIVILEGED)
    yield f"RuntimeDirectory={layout.MEASURE_RUN}\nRuntimeDirectoryMode=0700"
    yield from ("PrivateDevices=yes\nPrivateNetwork=yes", unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private")
    yield from (unit_lines.PROTECTED, "ProtectProc=invisible\nProcSubset=pid")
    yield f"TemporaryFileSystem={unit_lines.hidden(unit_lines.INSTALLATIONS[1:], there)}"
    yield f"BindReadOnlyPaths={there.root} {there.stores}"
    yield "NoExecPaths=/tmp /var/tmp /dev/shm\nLockPersonality=yes\nMemoryDenyWriteExecute=yes"
    yield from (unit_lines.RESTRICTED, "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources")
    yield "SystemCallErrorNumber=EPERM\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any"
    yield from ("", "[Install]\nWantedBy=multi-user.target")
