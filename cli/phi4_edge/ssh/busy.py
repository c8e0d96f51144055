"""Servers that turn some logins away while others are under way: a moment later they let them in.

sshd drops connections at random beyond ten logins that are not through yet (MaxStartups 10:30:100). A jump host, before
which all hosts of a fleet are looked at side by side, has them at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from phi4_edge.core import remedies
from phi4_edge.ssh.finding import Refusal

# Seconds, each times 0.5 to 1.5: those that were turned away together do not come back together.
_PAUSES = (0.5, 1.0, 2.0)
# What ssh says of a connection, its own or that of a jump host, that was ended before any key was exchanged.
_DROPPED = re.compile(
    r"^(kex_exchange_identification|ssh_exchange_identification|banner exchange)\b.*(closed|reset)"
    r"|Exceeded MaxStartups",
    re.IGNORECASE | re.MULTILINE,
)


def passing(finding: Refusal) -> bool:
    """Whether the host may let us in a moment later; one that punishes an address does so for longer."""
    return finding.kind == "turned_away" and finding.next_step != remedies.PENALTY


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt."""
    for seconds in _PAUSES:
        yield seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret


def dropped(errors: str) -> bool:
    """Whether ssh says that a connection was ended before it began."""
    return _DROPPED.search(errors) is not None
