"""What a host serves, from its facts and from what its service answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from phi4_edge.core.facts import HostFacts
from phi4_edge.core.receipt import Drift, status
from phi4_edge.rollout.outcome import HostResult, exit_code


class State(StrEnum):
    """How it stands with a host, best first. All but `unhealthy` are the words of `core.receipt.status`."""

    SERVING = "serving"  # as committed, and it answers
    DRIFTED = "drifted"  # files or images are not as committed
    UNHEALTHY = "unhealthy"  # the service is up and does not answer as it should
    STOPPED = "stopped"  # committed, and the service is not active and enabled, or a container does not run
    UNREADABLE = "unreadable"  # there is a receipt that says nothing
    ABSENT = "absent"  # no receipt


_REPAIR = "put it right: phi4-edge provision INVENTORY --limit {host}"
_NEXT = {
    State.SERVING: "",
    State.DRIFTED: _REPAIR,
    State.UNHEALTHY: "see journalctl -u phi4-edge on it; " + _REPAIR,
    State.STOPPED: "see journalctl -u phi4-edge on it; " + _REPAIR,
    State.UNREADABLE: _REPAIR,
    State.ABSENT: "install it: phi4-edge provision INVENTORY --limit {host}",
}


@dataclass(frozen=True)
class HostStatus:
    """One host: `health` is what the service said of itself ('' when it was not asked or did not answer)."""

    host: str
    state: State
    release: str
    engine: str
    quantization: str
    model: str
    address: str
    committed_at: str
    service: str
    restarts: int
    health: str
    detail: str
    next_step: str
    file_count: int
    drift: tuple[Drift, ...]

    def to_dict(self) -> dict[str, Any]:
        """The host's entry of a status document."""
        return {**asdict(self), "state": str(self.state), "drift": [asdict(item) for item in self.drift]}


@dataclass(frozen=True)
class Health:
    """What `/health` gave: the status word and the release it names, or why there was no answer."""

    status: str = ""
    release: str = ""
    problem: str = ""


def classify(facts: HostFacts, health: Health) -> HostStatus:
    """The status of a host that could be looked at."""
    receipt, service = facts.receipt, facts.service
    state, detail = _state(facts, health)
    address = f"{receipt.bind}:{receipt.port}" if receipt.port else ""
    return HostStatus(
        host=facts.host,
        state=state,
        release=receipt.release,
        engine=receipt.engine,
        quantization=receipt.quantization,
        model=receipt.model,
        address=address,
        committed_at=receipt.committed_at,
        service=f"{service.active}, {service.enabled or 'not enabled'}" if service else "",
        restarts=service.restarts if service else 0,
        health=health.status,
        detail=detail,
        next_step=_NEXT[state].format(host=facts.host),
        file_count=receipt.file_count,
        drift=receipt.drift,
    )


def _state(facts: HostFacts, health: Health) -> tuple[State, str]:
    receipt, service = facts.receipt, facts.service
    committed = State(status(receipt, service))
    up = service is not None and service.up
    how = f"{service.active} and {service.enabled or 'not enabled'}" if service else "unknown to systemd"
    drift = f"{len(receipt.drift)} of {receipt.file_count} managed files are not as committed"
    if receipt.foreign_containers and not receipt.drift:
        drift = f"another image than was committed runs as {', '.join(receipt.foreign_containers)}"
    if committed is State.DRIFTED:
        return committed, drift if up else f"{drift}; the service is {how}"
    if committed is not State.SERVING:
        reasons = {State.ABSENT: "nothing was provisioned here", State.UNREADABLE: receipt.error}
        stopped = f"the service is {how}, needed active and enabled"
        if up and receipt.missing_containers:
            stopped = f"no container runs as {', '.join(receipt.missing_containers)}"
        return committed, reasons.get(committed, stopped)
    if health.status != "healthy":
        return State.UNHEALTHY, health.problem or f"the engine says {health.status or 'nothing'}"
    if health.release and health.release != receipt.release:
        return State.DRIFTED, f"release {health.release} is running, the receipt says {receipt.release}"
    return State.SERVING, ""


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
