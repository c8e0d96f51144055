"""Whether users of this host reach the port of an engine that is for its gateway: by trying it as one of them.

Python 3.8, standard library. Nothing is sent there. It is the kernel that answers, whatever the rules say.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, Mapping, Optional, Tuple

# Belongs to no service and to no person.
NOBODY = 65534
SECONDS = 2.0
MOST_SECONDS = 5  # of a process, whatever holds it up
CONNECTED, REFUSED = 10, 11
Place = Tuple[str, int]


def place(plan: Mapping[str, Any]) -> Optional[Place]:
    """Address and port of a release's engine, None where it has no gateway. Raises LookupError or ValueError."""
    return (str(plan["bind"]), int(plan["port"])) if plan.get("gateway") else None


def is_open(where: Place) -> bool:
    """Whether a user without rights is connected there; a process of ours becomes one where we are root.

    False too where nobody listens.
    """
    if os.geteuid():
        return connected(where)
    child = os.fork()
    if not child:
        code = REFUSED
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MOST_SECONDS)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            code = CONNECTED if connected(where) else REFUSED
        finally:
            os._exit(code)
    _child, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == CONNECTED


def connected(where: Place) -> bool:
    """Whether somebody takes a connection there. No name is looked up, for a fork of several threads must not."""
    with socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(where)
        except OSError:
            return False
        return True
