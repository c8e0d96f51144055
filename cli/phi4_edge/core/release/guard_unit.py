"""The unit that keeps users of the host from the port of an engine behind a gateway: a table of nftables. Pure.

The engine listens on loopback and asks nobody for a key, so root and those whom it is for may reach its port, and
nobody else. A packet over loopback is still its sender's in the hook for output, so the kernel knows the user.
"""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core import layout
from phi4_edge.core.engines import confinement, unit_lines
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.inventory import answering
from phi4_edge.core.release import haproxy_unit

PROGRAM = "/usr/sbin/nft"
# Ours alone; nothing of a firewall's is touched.
TABLE = "inet phi4_edge"
# Before Docker, where it has no proxy of its own, sends what is for a container's port to another address (-100).
PRIORITY = -300
_NONE = f"add table {TABLE}; delete table {TABLE}"


def unit(plan: Plan) -> str:
    """Return the unit. It names no release: it stays from one to the next, and takes other rules by a reload."""
    return unit_lines.text(_unit(plan))


def rules(plan: Plan) -> str:
    """Return what puts our table in the place of the one before, in one step."""
    address = answering(plan["bind"])
    family = "ip6" if ":" in address else "ip"
    refused = f"meta skuid != {{ {', '.join(users(plan))} }} counter reject with tcp reset"
    chain = f"{{ type filter hook output priority {PRIORITY}; policy accept; }}"
    return (
        f"{_NONE}; add table {TABLE}; add chain {TABLE} output {chain}; "
        f"add rule {TABLE} output oifname lo {family} daddr {address} tcp dport {plan['port']} {refused}"
    )


def users(plan: Plan) -> tuple[str, ...]:
    """Return who may reach the engine's port: root, the gateway with what measures beside it, and a chat page."""
    # The page's container has the host's network, and this user.
    page = (str(confinement.USER),) if plan.get("webui") else ()
    return ("0", haproxy_unit.USER, *page)


def _unit(plan: Plan) -> Iterator[str]:
    load = f"{PROGRAM} '{rules(plan)}'"
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (its port is for the gateway alone)"
    yield "# Before anything listens there. Rules of the system's own begin with the removal of all others."
    yield "DefaultDependencies=no\nAfter=local-fs.target nftables.service\nPartOf=nftables.service"
    yield "ReloadPropagatedFrom=nftables.service"
    yield f"Before={layout.SOCKET_UNIT} {layout.UNIT} {layout.GATEWAY_UNIT} shutdown.target"
    yield "Conflicts=shutdown.target"
    yield from ("", "[Service]\nType=oneshot\nRemainAfterExit=yes")
    yield f"ExecStart={load}\nExecReload={load}\nExecStop={PROGRAM} '{_NONE}'"
    yield from ("SyslogIdentifier=phi4-edge-guard\nTimeoutSec=20", "", "MemoryMax=64M\nTasksMax=8\nLimitCORE=0", "")
    yield "# Root, and nothing of it but the right to change the network's rules. Modules come with the first rule."
    yield "UMask=0077\nNoNewPrivileges=yes\nCapabilityBoundingSet=CAP_NET_ADMIN"
    yield from ("PrivateDevices=yes", unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED)
    yield from ("LockPersonality=yes\nMemoryDenyWriteExecute=yes", unit_lines.RESTRICTED)
    yield "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallErrorNumber=EPERM"
    yield "RestrictAddressFamilies=AF_NETLINK AF_UNIX\nIPAddressDeny=any"
    yield from ("", "[Install]\nWantedBy=sysinit.target nftables.service")
