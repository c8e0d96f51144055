"""The administrator of a chat page: who it is, and the order that reaches the page over sockets alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from phi4_edge.core.text import clean
from phi4_edge.errors import InventoryError

EMAIL = "admin@localhost"
# Variable of a run, not of an inventory: passwords by host that `provision` made where the inventory has none.
GENERATED = "webui_generated_passwords"
# The page hashes with bcrypt, which takes no more than 72 bytes.
SHORTEST, LONGEST = 8, 72
_ADDRESS = re.compile(r"[^@\s]{1,64}@(?:localhost|[^@\s.]+(?:\.[^@\s.]+)+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the page gets; `password` is "" where nobody said any."""

    email: str
    password: str = field(repr=False)
    generated: bool = False

    def order(self) -> bytes:
        """Return the line that the page takes, nothing without a password."""
        if not self.password:
            return b""
        return json.dumps({"name": "Administrator", "email": self.email, "password": self.password}).encode() + b"\n"


def person(email: str, password: str, generated: str = "") -> Person:
    """Return whom the inventory names. Raises InventoryError, which does not repeat a password."""
    email = email.strip() or EMAIL
    if len(email) > 254 or not _ADDRESS.fullmatch(email):
        raise InventoryError(f"webui_admin_email: found {clean(email, 60)!r}, needed an address such as {EMAIL}")
    if not password:
        return Person(email, generated, bool(generated))
    length = len(password.encode("utf-8", "replace"))
    if not SHORTEST <= length <= LONGEST or not password.isprintable():
        raise InventoryError(
            f"webui_admin_password: found {length} bytes, needed {SHORTEST} to {LONGEST} bytes of printable characters"
        )
    return Person(email, password)
