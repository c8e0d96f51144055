"""Runs a program without a terminal: whatever it starts has nobody to ask, and is told so at once.

ansible-runner gives its program a terminal, on which nobody reads and nobody answers: a connection plugin, ssh or
kinit that asks there would wait without end. Runs alone (`python -I -S detached.py PROGRAM...`), so it imports the
standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from types import FrameType
from typing import NoReturn

# How soon its end is seen where something that it left holds its output open, and the system does not tell at once.
_POLL_SECONDS = 0.1
_NOT_FOUND = 127


def main(argv: list[str]) -> int:
    """The program has ended; its exit status as a shell has it. What it wrote is on standard output."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _become(argv, writing)
    os.close(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _passing(child))
    return _exit_status(_copied(child, reading))


def _become(argv: list[str], output: int) -> NoReturn:
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, stream in enumerate((nothing, output, output)):
            os.dup2(stream, number)
        os.execvp(argv[0], argv)  # noqa: S606 - a shell would only be in between
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_FOUND)


def _passing(child: int) -> signal._HANDLER:
    def passing(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    return passing


def _copied(child: int, reading: int) -> int:
    """The status of the child as wait() has it; all that it wrote has been copied."""
    ending = _ending(child)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        # After its end only what is there already: a connection that tasks shared may live on.
        while reading in select.select([reading, *ending], [], [], 0 if ended else _POLL_SECONDS)[0]:
            if not (said := os.read(reading, 65536)):
                return status if ended else os.waitpid(child, 0)[1]
            while said:
                said = said[os.write(1, said) :]
        if ended:
            return status


def _ending(child: int) -> list[int]:
    """A descriptor that can be read once the child has ended; none where the system has no such thing."""
    try:
        return [os.pidfd_open(child)]
    except (AttributeError, OSError):
        return []


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
