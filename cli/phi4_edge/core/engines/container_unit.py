"""The unit of what runs in containers: Docker's client, which stays attached and takes everything down when it ends.

The journal shows what the containers say. Their own limits are in the Compose document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from phi4_edge.core.engines import unit_lines

# What looks after a port that Docker holds for nobody; it lies beside the Compose document.
PORT = "port.py"


@dataclass(frozen=True, slots=True)
class Containers:
    """What a unit runs in containers. `file`: the Compose document; `journal`: a program for sed, "" for none."""

    description: str
    project: str
    file: str
    bind: str
    port: int
    journal: str = ""


def unit(it: Containers, rehearsal: bool = False) -> str:
    """Return the unit; a rehearsal's ends by itself, and is never installed."""
    return unit_lines.text(_lines(it, rehearsal))


def _lines(it: Containers, rehearsal: bool) -> Iterator[str]:
    client = f"/usr/bin/docker compose --ansi never --project-name {it.project} --file {it.file}"
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={unit_lines.plain(it.description)}\nRequires=docker.service"
    if unit_lines.is_loopback(it.bind):
        yield "After=docker.service network.target"
    else:
        yield f"{unit_lines.FIRST_ADDRESS}\nWants=network-online.target\nAfter=docker.service network-online.target"
    yield from (unit_lines.FOREVER, "", "[Service]\nType=exec")
    yield "# What a client that was killed left running would hold the port."
    yield f"ExecStartPre=-{client} down --timeout 20"
    if not rehearsal:
        yield (
            "# What Docker holds for no container since a power cut would make every start fail; only root can see and "
            "end that."
        )
        watch = f"{it.file.rpartition('/')[0]}/{PORT}"
        yield f"ExecStartPre=-+/usr/bin/env python3 -I {watch} {it.bind} {it.port}"
    yield "# Compose 2.26, which is Debian 13's, begins every line with an escape sequence that makes the journal " + (
        "unreadable."
    )
    edit = f"sed -u{' -E' if it.journal else ''} -e 's/^\\\\x1b\\\\[2K//'{f' -f {it.journal}' if it.journal else ''}"
    up = f"{client} up --no-build --pull never --no-color --no-log-prefix --force-recreate 2>&1 | {edit}"
    yield f'ExecStart=/bin/bash -o pipefail -c "{up}"'
    yield f"ExecStop=-{client} down --timeout 30\nExecStopPost=-{client} down --timeout 20"
    yield from (f"SyslogIdentifier={it.project}\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=500", "")
    yield "TimeoutStartSec=120\nTimeoutStopSec=60"
    yield "# ExecStop ends the client by ending its containers; nothing else has to be asked.\nKillMode=mixed"
    yield from (unit_lines.ENDS if rehearsal else unit_lines.RESTARTS, "")
    yield "# Of the client alone: what the engine may take is in the compose file."
    yield from ("MemoryMax=512M\nTasksMax=256\nLimitCORE=0", "")
    yield from _closed_client()
    if not rehearsal:
        yield from ("", "[Install]\n# When Docker was stopped and is started again, so is this.")
        yield "WantedBy=multi-user.target docker.service"


def _closed_client() -> Iterator[str]:
    yield (
        "# Who may use Docker's socket could become root on this host: a user that exists only here, and nothing but "
        + ("the socket.")
    )
    yield "DynamicUser=yes\nSupplementaryGroups=docker"
    yield "Environment=HOME=/tmp DOCKER_CONFIG=/tmp/.docker DOCKER_HOST=unix:///run/docker.sock\nUMask=0077"
    yield from (unit_lines.UNPRIVILEGED, "PrivateDevices=yes", unit_lines.PRIVATE, "PrivateNetwork=yes")
    yield from ("RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED, "ProtectProc=invisible\nProcSubset=pid")
    yield "NoExecPaths=/tmp /var/tmp /dev/shm\nLockPersonality=yes\nMemoryDenyWriteExecute=yes"
    yield from (unit_lines.RESTRICTED, "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources")
    yield "SystemCallErrorNumber=EPERM\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any"
