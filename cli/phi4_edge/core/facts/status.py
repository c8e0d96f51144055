"""What a host serves, from its facts and from what its service answers, and what of it was ended unasked. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from phi4_edge.core.credentials import moment
from phi4_edge.core.facts.installed import misplaced, taken
from phi4_edge.core.facts.parse import HostFacts
from phi4_edge.core.facts.receipt import Drift, status
from phi4_edge.core.facts.units import ModelState, Service
from phi4_edge.core.layout import GUARD_UNIT


class State(StrEnum):
    """How it stands with a host, best first. All but `loading` and `unhealthy` are words of `receipt.status`."""

    SERVING = "serving"  # as committed, and it answers
    LOADING = "loading"  # as committed, and its model is not in memory yet
    DRIFTED = "drifted"  # files or images are not as committed
    UNHEALTHY = "unhealthy"  # the service is up and does not answer as it should
    STOPPED = "stopped"  # committed, and the service is not active and enabled, or a container does not run
    UNREADABLE = "unreadable"  # there is a receipt that says nothing
    ABSENT = "absent"  # no receipt


_WAIT = "wait: it loads by itself; if it stays so, see journalctl -u phi4-edge -u phi4-edge-load on it"
# What a power cut in the middle of a container's start may leave; see docs/host.md.
_ORPHANED = "Docker holds {place} for no container, and nothing else can use it"
_RESTART = "restart Docker on it, which frees the port (sudo systemctl restart docker); see phi4-edge doctor"
_REPAIR = "repair it: phi4-edge provision INVENTORY --limit {host}"
# Who trusts stamps does not see what a look at every byte has found.
_DEEP = f"{_REPAIR} --deep"
_TAKEN = "stop what listens there (see it: sudo ss -ltnp 'sport = :{port}'), then phi4-edge provision INVENTORY"
# What else than files is named in one line; all of it is below.
# A certificate of the fleet's CA is renewed before that by any provision.
_SOON_SECONDS = 21 * 86_400
_MOST_NAMED = 3
_UNGUARDED = (
    f"every user of the host reaches the engine without a key: {GUARD_UNIT} has failed, as it does where the kernel "
    "lacks nf_tables (journalctl -u phi4-edge-guard)"
)
_NEXT = {
    State.SERVING: "",
    State.LOADING: _WAIT,
    State.DRIFTED: _REPAIR,
    State.UNHEALTHY: "see journalctl -u phi4-edge on it; " + _REPAIR,
    State.STOPPED: "see journalctl -u phi4-edge on it; " + _REPAIR,
    State.UNREADABLE: _REPAIR,
    State.ABSENT: "install it: phi4-edge provision INVENTORY --limit {host}",
}


@dataclass(frozen=True)
class HostStatus:
    """One host: `health` is what the service said of itself ('' when it was not asked or did not answer).

    `restarts` counts the service, `runner_kills` the process that holds the model, `memory_kills` what the kernel ended
    for want of memory; each with when it was last, where anybody knows. `endings` says all of it in sentences.
    `notes`: what is good to know besides: what the host has put right by itself, what changes each of its services.
    """

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
    restarted_at: str
    runner_kills: int
    runner_killed_at: str
    memory_kills: int
    endings: tuple[str, ...]
    health: str
    detail: str
    next_step: str
    file_count: int
    drift: tuple[Drift, ...]
    notes: tuple[str, ...] = ()
    gateway: str = ""
    certificate_expires: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The host's entry of a status document."""
        return {**asdict(self), "state": str(self.state), "drift": [asdict(item) for item in self.drift]}


@dataclass(frozen=True)
class Health:
    """What `/health` gave: the status word and the release it names, or why there was no answer."""

    status: str = ""
    release: str = ""
    problem: str = ""


def classify(facts: HostFacts, health: Health | None, deep: bool = False, now: int = 0) -> HostStatus:
    """Return the status of a host that could be looked at; `health` is None where nobody asked its service.

    `deep`: every byte was looked at, so that what repairs the host must do that too. `now`: seconds since 1970, 0 where
    nobody looks at how long a certificate is good.
    """
    receipt, service = facts.receipt, facts.service
    state, detail = _state(facts, health)
    next_step = (_DEEP if deep and state is State.DRIFTED else _NEXT[state]).format(host=facts.host)
    detail, next_step = _placed(facts, state, detail, next_step)
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
        restarted_at=service.since if service and service.restarts else "",
        runner_kills=service.model.kills if service else 0,
        runner_killed_at=service.model.last if service else "",
        memory_kills=memory_kills(facts),
        endings=tuple(ending.text for ending in endings(facts)),
        health=health.status if health else "",
        detail=detail,
        next_step=next_step,
        file_count=receipt.file_count,
        drift=receipt.drift,
        notes=_notes(facts, now),
        gateway=service.gateway if service else "",
        certificate_expires=moment(facts.credentials.not_after) if facts.credentials.pem else "",
    )


def _placed(facts: HostFacts, state: State, detail: str, next_step: str) -> tuple[str, str]:
    """Return detail and next step, or what is wrong with the port or the directories where something is."""
    if state is not State.SERVING and (place := taken(facts)):
        detail, next_step = f"another program listens on {place}; {detail}", _TAKEN.format(port=facts.receipt.port)
    if facts.orphaned and state is not State.SERVING:
        detail, next_step = f"{_ORPHANED.format(place=facts.orphaned)}; {detail}", _RESTART
    wrong, step = misplaced(facts)
    if wrong:
        detail, next_step = wrong, step
    return detail, next_step


def _notes(facts: HostFacts, now: int) -> tuple[str, ...]:
    """Return what was healed, what is said for all services, and that a gateway's certificate is near its end."""
    found = [*facts.receipt.healing.notes]
    found += [f"{path} changes every service of the host" for path in facts.receipt.general]
    if facts.service is not None and facts.service.unguardable:
        found.append(_UNGUARDED)
    end = facts.credentials.not_after
    if end and now and end - now <= _SOON_SECONDS:
        when = "has expired" if end <= now else f"expires in {(end - now) // 86_400} days"
        found.append(f"the gateway's certificate {when} ({moment(end)}): `phi4-edge provision` brings a new one")
    return tuple(found)


def _state(facts: HostFacts, health: Health | None) -> tuple[State, str]:
    receipt, service = facts.receipt, facts.service
    committed = State(status(receipt, service))
    if committed is not State.SERVING:
        return _not_serving(facts, committed)
    if _loads(facts, service, health):
        why = service.model.why if service else ""
        return State.LOADING, f"its model is not loaded: {why}" if why else "its model is being loaded"
    if health is None:
        return State.SERVING, ""
    if health.status != "healthy":
        return State.UNHEALTHY, health.problem or f"the engine says {health.status or 'nothing'}"
    if health.release and health.release != receipt.release:
        return State.DRIFTED, f"release {health.release} is running, the receipt says {receipt.release}"
    return State.SERVING, ""


def _not_serving(facts: HostFacts, committed: State) -> tuple[State, str]:
    """The state and why, of a host that its receipt and systemd alone say enough of."""
    receipt, service = facts.receipt, facts.service
    up, how = service is not None and service.up, _how(service)
    if committed is State.DRIFTED:
        drift = _drifted(facts)
        return committed, drift if up else f"{drift}; the service is {how}"
    if committed is State.STOPPED and service is not None and service.starting and not receipt.missing_containers:
        return State.LOADING, "the service starts, and is ready once its model is loaded"
    stopped = f"the service is {how}, needed active and enabled"
    if up and receipt.missing_containers:
        stopped = f"no container runs as {', '.join(receipt.missing_containers)}"
    nothing = "nothing was provisioned here"
    if service is not None and service.load == "loaded" and not service.foreign:
        nothing = f"its receipt is gone, and the service is {how}"
    reasons = {State.ABSENT: nothing, State.UNREADABLE: receipt.error}
    return committed, reasons.get(committed, stopped)


def _drifted(facts: HostFacts) -> str:
    """Return what is not as committed: how many files, and each other thing by its name."""
    receipt, service = facts.receipt, facts.service
    files = sum(item.managed for item in receipt.drift)
    found = [f"{files} of {receipt.file_count} managed files are not as committed"] if files else []
    if receipt.foreign_containers:
        found.append(f"another image than was committed runs as {', '.join(receipt.foreign_containers)}")
    others = [f"{item.path} is {item.problem}" for item in receipt.drift if not item.managed]
    found += others[:_MOST_NAMED]
    if service is not None and service.outdated and not found:
        found.append("systemd has not read the units again since they were changed")
    return "; ".join(found)


def _how(service: Service | None) -> str:
    """How it stands with the service, its port, and what loads its model."""
    if service is None:
        return "unknown to systemd"
    how = f"{service.active} and {service.enabled or 'not enabled'}"
    if not service.holds_port:
        how += f", its socket {service.socket.replace(', ', ' and ')}"
    if not service.keeps_loaded:
        how += f", its loader {service.loader.replace(', ', ' and ')}"
    return how


def _loads(facts: HostFacts, service: Service | None, health: Health | None) -> bool:
    """Whether an engine that is up has not its model yet: it, what loads it, or Docker's look at its health says so.

    Ollama lists a model whose process was killed until somebody asks for it.
    """
    if health is not None and health.status:
        return health.status == "loading" or (health.status == "healthy" and service is not None and service.loading)
    starting = "engine" in facts.receipt.starting_containers
    return starting or (health is None and service is not None and service.loading)


@dataclass(frozen=True, slots=True)
class Ending:
    """One kind of end and a sentence that says how often and when; `number` of them, `starved` for want of memory."""

    text: str
    number: int
    starved: bool = False


def memory_kills(facts: HostFacts) -> int:
    """Return how many of the service's processes the kernel has ended for want of memory, as far as anybody counted.

    The control group's count begins with each start of the service or the container, that of the loader with its own.
    """
    service = facts.service
    counted = (service.memory_kills, service.model.memory_kills) if service is not None else ()
    inside = sum(item.memory_kills for item in facts.receipt.containers or () if item.service == "engine")
    return max(*counted, inside) if counted else inside


def endings(facts: HostFacts) -> tuple[Ending, ...]:
    """Return each kind of end, the service's first; () for a service that nothing ended."""
    service = facts.service
    restarts, since = (service.restarts, service.since) if service is not None else (0, "")
    model = service.model if service is not None else ModelState()
    starved = memory_kills(facts)
    found = []
    if restarts:
        found.append(Ending(f"the service was restarted {_times(restarts)}{_last(since)}", restarts))
    if model.kills:
        of = f", {_times(starved)} for lack of memory" if starved else ""
        text = f"the model's process was killed {_times(model.kills)}{of}{_last(model.last)}"
        found.append(Ending(text, model.kills, bool(starved)))
    elif starved:
        text = f"the kernel has killed a process of the service {_times(starved)} for lack of memory"
        found.append(Ending(text, starved, starved=True))
    return tuple(found)


def _last(when: str) -> str:
    return f", last at {when}" if when else ""


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
