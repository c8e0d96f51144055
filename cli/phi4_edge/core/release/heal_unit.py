"""The timer and the service with which a gateway looks after its release itself, where the inventory wants it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION

# The program, and the modules that it imports from beside it.
PROGRAM = "heal.py"
MODULES = (
    "hostaround.py",
    "hostguard.py",
    "hostlib.py",
    "hostlockstate.py",
    "hostprivate.py",
    "hostreceipt.py",
    "hostseal.py",
)
PROGRAMS = (PROGRAM, *MODULES)
# Of a look at a release that is as committed, which takes a second of a board's time.
EVERY = "5min"


def wanted(plan: Plan) -> bool:
    """Return whether the host of a plan looks after itself."""
    return bool(plan["knobs"].get("selfheal"))


def service(plan: Plan, release: str) -> str:
    """Return the unit that looks once; `release`: the release's directory."""
    return unit_lines.text(_service(plan, release))


def timer() -> str:
    """Return the unit that starts it, soon after a boot and then again and again."""
    return unit_lines.text(_timer())


def _service(plan: Plan, release: str) -> Iterator[str]:
    there, guards = layout.of(plan), plan.get("gateway") is not None
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (looks after it)"
    yield from ("", "[Service]\nType=oneshot")
    yield f"ExecStart=/usr/bin/env python3 -IB {release}/{PROGRAM} {there.root} {there.state}"
    yield "SyslogIdentifier=phi4-edge-heal\nTimeoutStartSec=900"
    yield from ("", "MemoryMax=256M\nOOMScoreAdjust=300\nTasksMax=32\nLimitCORE=0")
    yield from ("# Never at the cost of an answer.\nNice=19\nIOSchedulingClass=idle", "")
    yield "# Root, for it writes units and asks systemd to start them; it keeps what it needs for its own files."
    tries = " CAP_SETUID CAP_SETGID" if guards else ""
    yield f"UMask=0022\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE{tries}"
    yield from ("PrivateDevices=yes", unit_lines.PRIVATE)
    if guards:
        yield "# As a user without rights it tries whether the engine's port is closed to it."
    else:
        yield "PrivateNetwork=yes"
    yield "RemoveIPC=yes\nKeyringMode=private"
    yield unit_lines.PROTECTED
    yield f"ReadWritePaths={there.root} {there.state} /etc/systemd/system /run -/etc/ansible/facts.d"
    yield from ("LockPersonality=yes\nMemoryDenyWriteExecute=yes", unit_lines.RESTRICTED)
    yield "# Not ~@privileged: it gives files back to their owner."
    yield "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM"
    yield f"RestrictAddressFamilies={'AF_INET AF_INET6 ' if guards else ''}AF_UNIX\nIPAddressDeny=any"
    if guards:
        yield "IPAddressAllow=localhost"


def _timer() -> Iterator[str]:
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (when it is looked after)"
    yield from ("", "[Timer]")
    yield "# The first look after a change keeps the copies that later ones put back."
    yield f"OnActiveSec=1min\nOnBootSec=3min\nOnUnitInactiveSec={EVERY}\nAccuracySec=30s\nRandomizedDelaySec=30s"
    yield from ("", "[Install]\nWantedBy=timers.target")
