"""What the systemd of a host makes of our units, by its version. Pure.

The oldest that is promised decides how a unit is written; a directive that an older one does not know is ignored there,
with a line in its journal, and the plan names it. Source: systemd's NEWS, and what `systemd --dump-configuration-items`
of 247, 252 and 257 lists (tests/fixtures/systemd).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from phi4_edge.core.text import dotted, version_of

# JetPack 5 and Ubuntu 20.04 have it. Before it, ProtectClock and much of what holds an engine in are missing.
OLDEST = 245
# Since when systemd knows a directive that OLDEST does not.
SINCE = {
    "ProtectProc": 247,
    "ProcSubset": 247,
    "NoExecPaths": 248,
    "PrivateIPC": 248,
    "SocketBindAllow": 249,
    "SocketBindDeny": 249,
    "RestartMaxDelaySec": 254,
    "RestartSteps": 254,
}
# Before it, systemd makes the mount points of BindReadOnlyPaths= with the umask of the service: with 0077 nobody but
# root gets past them, and the engine does not start.
MOUNT_POINTS_FOR_ALL = 250
_DIRECTIVE = re.compile(r"^([A-Za-z]+)=", re.MULTILINE)


def before(version: str, wanted: int) -> bool:
    """Return whether a systemd is older than `wanted`; `version` as it says it: 247 (247.3-7). Unknown is not older."""
    return () < version_of(version)[:1] < (wanted,)


def too_old(version: str) -> str:
    """Return why nothing of ours runs under this version of systemd, "" where it does."""
    if not before(version, OLDEST):
        return ""
    found = dotted(version_of(version), 1)
    return f"systemd {found}, needs {OLDEST} or newer (Debian 11, Ubuntu 20.04, RHEL 9 and later have it)"


def ignored(units: Iterable[str], version: str) -> str:
    """Return the directives in these units that this version of systemd ignores, and since when it would know them."""
    used = {name for text in units for name in _DIRECTIVE.findall(text)}
    return ", ".join(f"{name} ({SINCE[name]})" for name in sorted(used & SINCE.keys()) if before(version, SINCE[name]))
