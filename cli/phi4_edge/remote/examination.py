"""What the doctor asks a host, and what the connection to it costs: the same document over every way to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.layout import Layout
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.remote import answers, framing

ROUNDS = SUDO_ROUNDS = 5
# (operation, arguments, as root) → the host's answer; raises a Phi4EdgeError without one.
Ask = Callable[[answers.Key, Mapping[str, Any], bool], Mapping[str, Any]]
# A command that does nothing, as root or not → what came back although nothing was said.
Nothing = Callable[[bool], str]


@dataclass(frozen=True)
class Examination:
    """Of one host. `transport`: the name of its connection; `over_ssh`: commands there are worth measuring.

    `becomes`: root is become there. `rounds`: commands of which the quickest counts.
    """

    ask: Ask
    nothing: Nothing
    transport: str
    over_ssh: bool
    becomes: bool
    rounds: int = ROUNDS

    def document(self, there: Layout) -> dict[str, Any]:
        """The document, also where a part of it could not be had: that part holds the reason."""
        trips, noise = self._trips(self.rounds if self.over_ssh else 0, False)
        login = self._part("login", {"measure": self.over_ssh}, False)
        root = self._part("doctor", {"layout": there.to_dict()}, True)
        sudo = self.over_ssh and self.becomes and "error" not in root
        return {
            "format": "phi4-edge/doctor-host/1",
            "transport": self.transport,
            "trips": trips,
            "sudo_trips": self._trips(SUDO_ROUNDS, True)[0] if sudo else [],
            "noise": noise,
            "login": login,
            "root": root,
        }

    def _trips(self, rounds: int, as_root: bool) -> tuple[list[float], str]:
        """Seconds of each of `rounds` commands that do nothing, and what came back although nothing was said."""
        taken, said = [], ""
        for number in range(rounds + 1 if rounds else 0):
            began = time.monotonic()
            output = self.nothing(as_root)
            if number:  # the first one opens the connection
                taken.append(time.monotonic() - began)
            said = said or output
        return taken, framing.excerpt(said)

    def _part(self, name: str, args: Mapping[str, Any], as_root: bool) -> dict[str, Any]:
        """The answer of one of role doctor's scripts with the times around it, or {"error": why there is none}."""
        before = time.time()
        try:
            answer = dict(self.ask(("doctor", name, name), args, as_root))
        except Phi4EdgeError as error:
            return {"error": str(error)}
        if "unmeasured" in answer:
            answer["error"] = answer.pop("unmeasured")
        return {**answer, "before": before, "after": time.time()}
