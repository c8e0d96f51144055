"""What preflight found out about one host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phi4_edge.errors import PreflightError, UnreachableError

Kind = Literal[
    "ok",
    "skipped",
    "unreachable",
    "auth_refused",
    "turned_away",
    "host_key_unknown",
    "host_key_changed",
    "asks",
    "no_shell",
    "no_sudo",
    "no_python",
    "no_answer",
]

_CANNOT_WORK = frozenset({"asks", "no_shell", "no_sudo", "no_python", "no_answer"})


@dataclass(frozen=True)
class Refusal:
    """One host: `reason` says found and needed, `next_step` what to do; both empty where it is ok.

    `user` and `system` (ID and ID_LIKE of os-release) are those of a host that let us in and then was refused.
    """

    host: str
    kind: Kind
    reason: str = ""
    next_step: str = ""
    user: str = ""
    system: str = ""

    @property
    def ok(self) -> bool:
        """Nothing speaks against starting: all was well, or only Ansible itself can tell (`skipped`)."""
        return self.kind in {"ok", "skipped"}

    @property
    def exit_code(self) -> int:
        """0, 3 where we get in but cannot work there, 5 where we do not get in."""
        if self.ok:
            return 0
        return PreflightError.exit_code if self.kind in _CANNOT_WORK else UnreachableError.exit_code

    @property
    def message(self) -> str:
        """Found, needed and next step in one line."""
        return f"{self.reason}: {self.next_step}" if self.next_step else self.reason


class Refused(Exception):  # noqa: N818  (an answer, not an error)
    """The host cannot be used: kind, reason and next step."""

    def __init__(self, kind: Kind, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason
        self.next_step = next_step

    def finding(self, host: str) -> Refusal:
        """The same as a Refusal."""
        return Refusal(host, self.kind, self.reason, self.next_step)
