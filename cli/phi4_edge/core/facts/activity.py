"""What goes on at a host: our service as systemd tells it, and whether another run has the host or left it half done.

From the probe's sources to `Service`, `Lock` and `Journal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.credentials import moment
from phi4_edge.core.facts.journal import Journal, Lock
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.facts.units import STANDING, UNGUARDED, ModelState, Service, model_state
from phi4_edge.core.layout import GATEWAY_UNIT, GUARD_UNIT, HEAL_TIMER, LOAD_UNIT, SOCKET_UNIT, UNIT
from phi4_edge.core.text import clean, integer

MOST_LINES = 200
STATES = ("held", "ending", "stale")
_READ = (UNIT, SOCKET_UNIT, LOAD_UNIT, GATEWAY_UNIT, GUARD_UNIT)
_TEXTS = ("id", "user", "host", "operation", "version", "started")


def service(sources: Sources) -> Service | None:
    """Return the service in the probe's sources, None where nobody could ask systemd."""
    units = _units(sources.text("service"))
    values = units.get(UNIT, {})
    if "LoadState" not in values:
        return None
    loader = units.get(LOAD_UNIT, {})
    return Service(
        load=clean(values["LoadState"], 32),
        active=clean(values.get("ActiveState"), 32),
        sub=clean(values.get("SubState"), 32),
        enabled=clean(values.get("UnitFileState"), 32),
        restarts=integer(values.get("NRestarts")) or 0,
        main_pid=integer(values.get("MainPID")) or 0,
        description=clean(values.get("Description")),
        socket=_standing(units.get(SOCKET_UNIT, {})),
        loader=_standing(loader),
        since=_moment(sources.text_or_none("clock"), values.get("ActiveEnterTimestampMonotonic")),
        memory_kills=integer(sources.text_or_none("memory_kills")) or 0,
        model=model_state(loader.get("StatusText")) if loader.get("ActiveState") == "active" else ModelState(),
        healer=_standing(units.get(HEAL_TIMER, {})),
        gateway=_standing(units.get(GATEWAY_UNIT, {})),
        guard=_guard(units.get(GUARD_UNIT, {}), sources.text_or_none("guard")),
        outdated=any(units.get(name, {}).get("NeedDaemonReload") == "yes" for name in _READ),
    )


def docker(sources: Sources) -> str:
    """Return how Docker's own unit stands: its state, masked, or missing; "" where nobody asked systemd for it."""
    values = _units(sources.text("service")).get("docker.service")
    if values is None:
        return ""
    load = clean(values.get("LoadState"), 32)
    return {"not-found": "missing", "masked": "masked"}.get(load, clean(values.get("ActiveState"), 32))


def _units(text: str) -> dict[str, dict[str, str]]:
    """Return what systemd says about each unit. An empty line ends a unit; so does a property that comes again.

    What comes first differs: a socket has fewer properties. An older probe did not ask for names: the service came
    first, then its socket.
    """
    found: list[dict[str, str]] = [{}]
    for line in text.splitlines()[:MOST_LINES]:
        name, equals, value = line.strip().partition("=")
        if found[-1] and (not equals or name in found[-1]):
            found.append({})
        if equals:
            found[-1][name] = value
    names = dict(enumerate((UNIT, SOCKET_UNIT, LOAD_UNIT)))
    return {block.get("Id", names.get(number, "")): block for number, block in enumerate(found)}


def _standing(unit: Mapping[str, str]) -> str:
    """Return how it stands with a unit, "" where systemd knows none: an older probe did not ask for it either."""
    if unit.get("LoadState", "not-found") == "not-found" and unit.get("ActiveState", "inactive") == "inactive":
        return ""
    return f"{clean(unit.get('ActiveState'), 32)}, {clean(unit.get('UnitFileState'), 32) or 'not installed'}"


def _guard(unit: Mapping[str, str], tried: str | None) -> str:
    """Return how it stands with what guards the engine's port; `tried`: what became of a try to get past it."""
    found = _standing(unit)
    return UNGUARDED if found == STANDING and (tried or "").strip() == "open" else found


def _moment(clock: str | None, microseconds: str | None) -> str:
    """Return when a moment of systemd's clock was, by the host's own two clocks; "" where that cannot be known."""
    words = (clock or "").split()
    now, running = (integer(word) for word in words) if len(words) == 2 else (None, None)
    then = integer(microseconds)
    if now is None or running is None or not then or then > running:
        return ""
    return moment(now - (running - then) // 1_000_000)


def lock(sources: Sources) -> Lock:
    """Return the lock of the host. One that cannot be read is stale: the role that takes it asks the host itself."""
    data = _document(sources, "lock")
    if data is None or data.get("present") is not True:
        return Lock()
    state, age = data.get("state"), data.get("age")
    return Lock(
        state=state if state in STATES else "stale",
        pid=integer(str(data.get("pid"))) or 0,
        age=float(age) if isinstance(age, int | float) and 0 <= age < 1e9 else 0.0,
        **{name: clean(data.get(name), 200) for name in _TEXTS},
    )


def journal(sources: Sources) -> Journal:
    """Return the last entry of the host's journal; one that cannot be read counts as half done."""
    data = _document(sources, "journal")
    return Journal() if data is None else Journal.from_dict({**data, "present": True})


def _document(sources: Sources, name: str) -> Mapping[str, Any] | None:
    """Return the JSON object of a source, {} where there is something else, None where the host has no such file."""
    text = sources.text_or_none(name)
    if text is None or not text.strip():
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        sources.gap(name, "nonsense", "not JSON")
        return {}
    return data if isinstance(data, Mapping) else {}
