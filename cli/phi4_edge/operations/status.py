"""What the status of hosts adds up to: the document, and the exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from phi4_edge.core.facts.status import HostStatus, State
from phi4_edge.rollout.result import HostResult, exit_code


def status_code(hosts: Iterable[HostStatus], problems: Iterable[HostResult]) -> int:
    """5 when a host was unreachable, else 3 when one could not be looked at, else 2 unless all are serving, else 0."""
    return exit_code(problems) or (2 if any(host.state is not State.SERVING for host in hosts) else 0)


def status_document(hosts: Iterable[HostStatus], problems: Iterable[HostResult]) -> Mapping[str, Any]:
    """The document `phi4-edge/status/1`."""
    return {
        "format": "phi4-edge/status/1",
        "hosts": [host.to_dict() for host in hosts],
        "problems": [result.to_dict() for result in problems],
    }
