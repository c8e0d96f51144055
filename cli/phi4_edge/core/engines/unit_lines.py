"""What several units of systemd have in common: the same lines, and how text goes into a unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.layout import Layout

Plan = Mapping[str, Any]
NOTE = "# Managed by phi4-edge. Changes made here are found by `phi4-edge status` and undone by `phi4-edge provision`."
# A rehearsal ends by itself after this time, in seconds, should the run that started it be killed.
REHEARSAL_SECONDS = 3600
RESTARTS = """
Restart=always
RestartSec=2
# Older than systemd 254: unknown, and the delay stays at RestartSec.
RestartSteps=6
RestartMaxDelaySec=120
"""
ENDS = f"""
# Should the run that started it be killed, it does not stay beside the service.
RuntimeMaxSec={REHEARSAL_SECONDS}
Restart=no
"""
# Where programs and their data lie; what lies in the first may be looked at by what needs nothing else.
INSTALLATIONS = ("/opt", "/var/lib", "/srv", "/mnt", "/media")
FIRST_ADDRESS = "# The address must exist before anything can listen on it."
FOREVER = """
# An unattended gateway never gives up: the growing restart delay below keeps a crash loop cheap.
StartLimitIntervalSec=0
"""
PRIVATE = """
PrivateTmp=yes
PrivateMounts=yes
PrivateIPC=yes
"""
PROTECTED = """
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""
UNPRIVILEGED = """
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
"""
RESTRICTED = """
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""
LOOPBACK_ALONE = """
IPAddressDeny=any
IPAddressAllow=localhost
"""


def text(parts: Iterator[str]) -> str:
    """Return a unit: parts of one line or several, "" for an empty line."""
    return "".join(f"{part.strip()}\n" if part else "\n" for part in parts)


def described(plan: Plan, rehearsal: bool) -> str:
    """Return what the unit of a release is called."""
    if rehearsal:
        return f"{OUR_DESCRIPTION}, a rehearsal of {plan['release']}"
    return f"{OUR_DESCRIPTION} ({plan['engine']} {plan['quantization']})"


def within(path: str, tops: Iterable[str]) -> bool:
    """Return whether a directory is one of `tops`, or below one."""
    return any(f"{path}/".startswith(f"{top}/") for top in tops)


def hidden(tops: tuple[str, ...], there: Layout) -> str:
    """Return what a unit sees an empty directory in place of: `tops`, and our state where that is in none of them.

    What it may read of that all the same, as the directory of our programs, is bound over it.
    """
    own = () if within(there.state, tops) and not within(there.state, (there.root,)) else (there.state,)
    return " ".join(f"{top}:ro" for top in (*tops, *own))


def plain(text: str) -> str:
    """Return text in which systemd expands nothing."""
    return text.replace("%", "%%")


def is_loopback(bind: str) -> bool:
    """Return whether an address is of this host alone."""
    return bind == "::1" or bind.startswith("127.")
