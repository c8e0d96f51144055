"""What a host says instead of letting us in or running our commands, and what helps then."""

from __future__ import annotations

import re

from phi4_edge.core import remedies
from phi4_edge.core.text import printable

_SHOWN = 200
# Words of sshd, PAM, login shells and the accounts of cloud images, and the step that helps.
_STEPS = (
    (r"password .{0,20}expire|password change|change your password", "change its password: ssh {user}@{address}"),
    (r"log ?in as the user", "set ansible_user to the user that it names"),
    (r"not available|nologin", "give {user} a shell there (usermod -s /bin/sh {user}), or set ansible_user"),
    (r"sftp", "let {user} run commands there (ForceCommand and Subsystem in sshd_config), or set ansible_user"),
)
_PASSING = re.compile(r"boot|going down|shut ?down|maintenance|try again|come back|later", re.IGNORECASE)
# What a host does that accepts a connection and ends it, and the next step.
UNHEARD = ("ends connections from here before any greeting", remedies.SILENT)


def first_line(said: str) -> str:
    """The first line with a word in it, for a message; "" where there is none."""
    line = next((line.strip() for line in said.splitlines() if any(map(str.isalnum, line))), "")
    return printable(line, _SHOWN, lines=False)


def no_commands(said: str, user: str, address: str) -> str:
    """The next step where a login says this instead of running a command."""
    for words, step in _STEPS:
        if re.search(words, said, re.IGNORECASE):
            return step.format(user=user, address=address)
    return "set ansible_user to a user whose login runs commands"


def no_way(error: OSError) -> str:
    """The next step where no connection to a host comes about."""
    if isinstance(error, ConnectionRefusedError):
        return f"check that it is on, and that ansible_host and ansible_port are right; {remedies.CLOSED}"
    return "check that it is on, and that ansible_host and ansible_port are right"


def turned_away(heard: bytes, over: bool) -> tuple[str, str] | None:
    """What a host did that ends a connection before it greets, and the next step; None where it did something else.

    `heard` is what came of it, `over` that it ended the connection.
    """
    said = first_line(heard.decode("utf-8", "replace"))
    if re.search(remedies.REFUSING, said, re.IGNORECASE):
        return f"lets nobody in from here for now: {said}", remedies.remedy(said)
    if over and not heard:
        return UNHEARD
    return None


def ended(said: str, user: str, address: str) -> str:
    """The next step where a host says this and ends a login that it would otherwise allow."""
    if _PASSING.search(said):
        return "wait until it is up, and run again"
    return f"see that {user} may log in there: ssh {user}@{address}"
