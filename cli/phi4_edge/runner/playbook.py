"""Imports Ansible once and runs `ansible-playbook` as often as it is asked to, each time in a process of its own.

Half of a short run of Ansible is its start. Ansible makes some hundred thousand objects meanwhile, and keeps nearly all
of them: Python's collector looks through them again and again, and once more in each task's process, which copies their
memory for that. Runs alone (`python -P playbook.py SOCKET`, with the number of a listening socket that it inherits) and
imports nothing of this package. `forked.py` asks it.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# Objects made between two looks for cycles; Python's own 700 means hundreds of looks in a run of seconds.
_OBJECTS = 50_000
# How often Ansible asks whether a task has ended; its own 0.001 takes 3 % of a core while a host works, and no setting
# in the environment changes it.
_POLL_SECONDS = 0.005
# Standard input, output and errors of whoever asks.
_STREAMS = 3
# A request: arguments, environment, folder. Linux gives a program no more than this of the first two.
_MOST_REQUEST = 8 * 1024 * 1024


def main() -> None:
    """Never returns: it is ended when nobody needs it any more. A process that it forks ends as ansible-playbook."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    from ansible import constants
    from ansible.cli import playbook

    gc.freeze()
    gc.set_threshold(_OBJECTS, 20, 100)
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = max(_POLL_SECONDS, constants.DEFAULT_INTERNAL_POLL_INTERVAL)
    _serve(listening)
    gc.enable()
    # Whichever run comes first takes away at its end what was made while Ansible was imported.
    Path(constants.DEFAULT_LOCAL_TMP).mkdir(mode=0o700, exist_ok=True)
    playbook.main()


def _serve(listening: socket.socket) -> None:
    """Returns in a process that was forked for somebody who asked: with their arguments, environment and streams."""
    while True:
        connection, _ = listening.accept()
        with connection:
            asked, streams = _request(connection)
            if asked is None:
                continue
            child = os.fork()
            if not child:
                listening.close()
                connection.close()
                _become(asked, streams)
                return
            for stream in streams:
                os.close(stream)
            # Whoever asked may have been killed, and the child with them.
            with suppress(OSError):
                connection.sendall(f"{child}\n".encode())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with suppress(OSError):
                connection.sendall(f"{status}\n".encode())


def _request(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """None from whoever was killed while asking."""
    said, streams, _, _ = socket.recv_fds(connection, 65536, _STREAMS)
    parts = [said]
    while said and sum(map(len, parts)) < _MOST_REQUEST:
        parts.append(said := connection.recv(65536))
    try:
        return json.loads(b"".join(parts)), list(streams)
    except ValueError:
        for stream in streams:
            os.close(stream)
        return None, []


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    os.setsid()
    imported = os.pread(1, _MOST_REQUEST, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # What Ansible said while it was imported, of its configuration for one, it says in each run.
    os.write(2, imported)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = asked["argv"]


if __name__ == "__main__":
    main()
