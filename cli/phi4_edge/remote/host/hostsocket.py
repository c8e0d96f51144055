"""HTTP to a socket in the file system, such as Docker's. Imported where it is needed: http.client alone takes 30 ms.

Python 3.8, standard library.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Tuple

# What goes wrong with whoever listens there, and with what it answers.
UNKNOWN = (
    AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError, http.client.HTTPException,
)  # fmt: skip


class Way(http.client.HTTPConnection):
    """A connection that stays open from one question to the next."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, path: str, limit: int) -> Tuple[int, Any]:
        """HTTP status and document of the first `limit` bytes of an answer. Raises one of UNKNOWN without any."""
        self.request("GET", path)
        response = self.getresponse()
        return response.status, json.loads(response.read(limit).decode("utf-8", "replace"))
