"""What systemd says of our units on a host, what the one that loads the model says of it, and the one that heals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.text import clean

# A test holds the unit's template to it.
OUR_DESCRIPTION = "Phi-4 on this gateway"
STANDING = "active, enabled"  # as `phi4_edge.core.facts.activity` words it
# Of what guards the engine's port: it has done its work, and somebody has removed its rules since.
UNGUARDED = "without effect"
# roles/ollama/files/load.py makes the line; a test holds one to the other.
_LINE = re.compile(
    r"(loaded|loading); runner killed ([0-9]{1,9}) times, ([0-9]{1,9}) for want of memory, "
    r"last (never|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)(?:; (.*))?"
)

# roles/service/files/heal.py writes it; a test holds one to the other.
HEAL_FORMAT = "phi4-edge/heal/1"
MOST_HEALED = 20
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, slots=True)
class ModelState:
    """What keeps the model loaded says of it: `state` is loaded or loading, "" where nobody says; `why` not loaded.

    `kills`: how often the model's process ended without being asked, `memory_kills` of them for want of memory, since
    that unit was started; `last`: when that was last (UTC, "" for never).
    """

    state: str = ""
    why: str = ""
    kills: int = 0
    memory_kills: int = 0
    last: str = ""


@dataclass(frozen=True, slots=True)
class Healing:
    """What the host's own check has done and found last, where there is one; all of it empty where there is none.

    `at`: when it last put something right (UTC), `did`: what that was. `left`: what it has found and cannot put right,
    or must not. `held`: the file that told it to do nothing, "" without one.
    """

    at: str = ""
    did: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    held: str = ""

    @classmethod
    def from_dict(cls, data: object) -> Healing:
        """Return what a host's note says, nothing for one that is none of ours."""
        if not isinstance(data, Mapping) or data.get("format") != HEAL_FORMAT:
            return cls()
        at = clean(data.get("at"), 20)
        did, left = _texts(data.get("did")), _texts(data.get("left"))
        return cls(at if _MOMENT.fullmatch(at) else "", did, left, clean(data.get("held"), 100))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `from_dict` of it is equal."""
        return {"format": HEAL_FORMAT, "at": self.at, "did": list(self.did), "left": list(self.left),
                "held": self.held}  # fmt: skip

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of it, in sentences."""
        found = [f"healed itself at {self.at}: {', '.join(self.did)}"] if self.at and self.did else []
        if self.held:
            found.append(f"its self-heal is on hold: {self.held} is there")
        found += [f"its self-heal leaves to others: {text}" for text in self.left]
        return tuple(found)


NOT_HEALING = Healing()


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd says about the unit of our name.

    `socket` is "" where the port is not systemd's, `loader` is "" where no unit keeps the model loaded, `healer` where
    the host does not look after itself, `gateway` where it has none, `guard` where nothing guards the port. `since`:
    when it became active last (UTC). `memory_kills`: what the kernel ended in its control group for want of memory.
    `outdated`: systemd has not read our units as they lie there now.
    """

    load: str
    active: str
    sub: str
    enabled: str
    restarts: int
    main_pid: int
    description: str = ""
    socket: str = ""
    loader: str = ""
    since: str = ""
    memory_kills: int = 0
    model: ModelState = ModelState()
    healer: str = ""
    gateway: str = ""
    guard: str = ""
    outdated: bool = False

    @property
    def up(self) -> bool:
        """True when the unit, its port and what loads its model are active now and will be after a reboot."""
        return self.active == "active" and self.enabled == "enabled" and self.holds_port and self.keeps_loaded

    @property
    def starting(self) -> bool:
        """True while it becomes what `up` says: an engine that says so itself is active once its model is loaded."""
        begins = self.active == "activating" and self.sub.startswith("start")
        return begins and self.enabled == "enabled" and self.holds_port and self.keeps_loaded

    @property
    def loading(self) -> bool:
        """True where systemd, or what keeps the model loaded, says that the model is on its way."""
        return self.starting or (self.up and self.model.state == "loading")

    @property
    def holds_port(self) -> bool:
        """False where systemd has a socket of our name that does not listen now, or will not after a reboot."""
        return self.socket in ("", STANDING)

    @property
    def keeps_loaded(self) -> bool:
        """False where systemd has a unit of ours that loads the model and does not run now, or not after a reboot."""
        return self.loader in ("", STANDING)

    @property
    def unguardable(self) -> bool:
        """True where what guards the engine's port has failed, as it does on a kernel that knows no such rules."""
        return self.guard.startswith("failed")

    @property
    def foreign(self) -> bool:
        """True for a unit that somebody else wrote under our name; every one of ours begins its description alike."""
        return self.load == "loaded" and bool(self.description) and not self.description.startswith(OUR_DESCRIPTION)


def model_state(line: object) -> ModelState:
    """Return what a status line says; nothing where it is none of ours."""
    found = _LINE.fullmatch(clean(line, 400))
    if not found:
        return ModelState()
    last = "" if found[4] == "never" else found[4]
    return ModelState(found[1], clean(found[5], 200), int(found[2]), int(found[3]), last)


def _texts(data: object) -> tuple[str, ...]:
    found = data[:MOST_HEALED] if isinstance(data, list) else []
    return tuple(text for item in found if (text := clean(item, 300)))
