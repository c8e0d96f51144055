"""Has a program run in a process that is forked from one that has imported it already, and ends as that one ends.

Arguments, environment, working directory and standard streams are this program's own: whoever starts it sees no
difference to the program itself. Runs alone (`python -I -S forked.py ADDRESS PROGRAM ARGUMENT...`), so it imports the
standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# What the process that is asked said while it started lies beside its address.
SAID = ".said"
_GONE = 127
# Bytes of the path of a socket: 108 on Linux, 104 elsewhere, one of them for the end.
_LONGEST = 103


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The address of a socket with this path, which may be longer than an address may be. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(path) if len(os.fsencode(path)) <= _LONGEST else f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def main(argv: list[str]) -> int:
    """Exit status of the program as a shell has it; 127 where there is nobody who could run it."""
    path = Path(argv[0])
    try:
        status, why = _asked(path, argv[1:]), "the process that runs it has ended"
    except OSError as error:
        status, why = None, error.strerror or str(error)
    if status is None:
        with contextlib.suppress(OSError):
            os.write(2, Path(f"{path}{SAID}").read_bytes())
        os.write(2, f"{argv[1]}: {why}\n".encode())
        return _GONE
    return status if status >= 0 else 128 - status


def _asked(path: Path, argv: list[str]) -> int | None:
    """None where whoever listened has ended before the program did."""
    request = json.dumps({"argv": argv, "env": dict(os.environ), "cwd": str(Path.cwd())}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        with address(path) as where:
            connection.connect(where)
        sent = socket.send_fds(connection, [request[:4096]], [0, 1, 2])
        connection.sendall(request[sent:])
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            child = answers.readline()
            if not child.endswith(b"\n"):
                return None
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, _passing(int(child)))
            status = answers.readline()
    return int(status) if status.endswith(b"\n") else None


def _passing(child: int) -> signal._HANDLER:
    def passing(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    return passing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
