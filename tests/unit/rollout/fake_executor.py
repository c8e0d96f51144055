"""An executor that plays given outcomes instead of running Ansible.

Leaves out Ansible, processes and hosts. As a real one it tells a start and an end of each host, asks `cancelled` after
each event, and then gives "cancelled" for the hosts that have not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from phi4_edge.runner.executor import Call, OnEvent
from phi4_edge.runner.run import HostEvent, HostOutcome, RunResult

BACK = {"phi4_rollback": {"to": "r-0", "restarted": True, "kept": False, "removed": []}}
HELD = {"phi4_lock": {"state": "held", "user": "eve", "host": "other"}}
# What a host does when the playbook comes to it.
ENDS: Mapping[str, Callable[[str], HostOutcome]] = {
    "done": lambda host: HostOutcome(host, "ok", changed=3),
    "unchanged": lambda host: HostOutcome(host, "ok"),
    "failed": lambda host: HostOutcome(host, "failed", "found no space"),
    "unreachable": lambda host: HostOutcome(host, "unreachable", "no route"),
    "timed_out": lambda host: HostOutcome(host, "failed", "too slow", timed_out=True),
    "rolled_back": lambda host: HostOutcome(host, "failed", "no answer", BACK, 2),
    "locked": lambda host: HostOutcome(host, "failed", "found the lock of eve@other", HELD),
}


@dataclass
class FakeExecutor:
    """`plays`: what each host does in each playbook; a host that is not named is done."""

    plays: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[str, str], None] = lambda playbook, host: None
    calls: list[tuple[Call, tuple[str, ...]]] = field(default_factory=list)

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        self.calls.append((call, tuple(hosts)))
        found: dict[str, HostOutcome] = {}
        role = self.role.get(call.playbook, "")
        for host in hosts:
            for kind in ("start", "ok"):
                on_event(HostEvent(host, kind, role, "Something"))  # type: ignore[arg-type]
                self.after(call.playbook, host)
                if cancelled():
                    rest = {name: HostOutcome(name, "cancelled", "interrupted") for name in hosts}
                    return RunResult({**rest, **found}, True, 254)
            found[host] = ENDS[self.plays.get(call.playbook, {}).get(host, "done")](host)
        return RunResult(found, False, 0)

    def hosts_of(self, playbook: str) -> list[str]:
        """Every host that the playbook was run on, in order."""
        return [host for call, hosts in self.calls if call.playbook == playbook for host in hosts]
