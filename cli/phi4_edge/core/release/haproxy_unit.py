"""The unit of a HAProxy of ours, whether it is a gateway or a balancer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phi4_edge.core.engines import unit_lines
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.layout import GATEWAY_USER

PROGRAM = "/usr/sbin/haproxy"
USER = GATEWAY_USER
# Bytes of RAM that it may have: what its connections take at their most, and the program itself.
MEMORY = 256 << 20


def lines(about: str, name: str, bind: str, files: Sequence[str], connections: int, run: str = "") -> Iterator[str]:
    """Yield the unit `name`. It reads `files` in their order, and takes what is new in them by a reload.

    `run`: a directory below /run that root alone may enter, "" for none.
    """
    read = " ".join(f"-f {file}" for file in files)
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} ({about})"
    if unit_lines.is_loopback(bind):
        yield "After=network.target"
    else:
        yield f"{unit_lines.FIRST_ADDRESS}\nWants=network-online.target\nAfter=network-online.target"
    yield from (unit_lines.FOREVER, "", "[Service]\nType=notify\nNotifyAccess=main")
    yield f"ExecStart={PROGRAM} -Ws {read}"
    yield "# A configuration that HAProxy does not take leaves what runs as it is."
    yield f"ExecReload={PROGRAM} -c -q {read}\nExecReload=/bin/kill -USR2 $MAINPID"
    yield f"SyslogIdentifier={name}\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=2000"
    yield "KillMode=mixed\nTimeoutStartSec=60\nTimeoutStopSec=10\nSuccessExitStatus=143"
    if run:
        yield f"RuntimeDirectory={run}\nRuntimeDirectoryMode=0700"
    yield from (unit_lines.RESTARTS, "", f"MemoryMax={MEMORY}")
    yield f"OOMScoreAdjust=100\nTasksMax=64\nLimitCORE=0\nLimitNOFILE={4 * connections + 256}"
    yield ""
    yield "# Root reads keys and certificate; what talks to clients is the user haproxy, without any capability."
    yield "UMask=0077\nNoNewPrivileges=yes"
    yield "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_NET_BIND_SERVICE"
    yield from ("PrivateDevices=yes", unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED)
    yield "# Not MemoryDenyWriteExecute: its library of regular expressions compiles them."
    yield from ("LockPersonality=yes", unit_lines.RESTRICTED)
    yield "# Not ~@privileged: it changes its user."
    yield "SystemCallFilter=@system-service @setuid\nSystemCallErrorNumber=EPERM"
    yield "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    yield from ("", "[Install]\nWantedBy=multi-user.target")
