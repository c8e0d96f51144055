"""Serves an artifact that this gateway has to others of its site, until the controller lets go or the time is over.

Runs on the gateway, as the user who logs in, with the modules of the server in front of it: Python 3.8, standard
library only. What it serves is held to the controller's hashes by whoever fetches it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.serve.ranges import Grant, RangeServer

Files = dict[str, tuple[Path, int]]


def held(args: dict[str, Any]) -> Files:
    """Where the wanted files are, each opened now: one that is removed later is served all the same.

    Raises FileNotFoundError for the first one that is not there as it should be.
    """
    found: Files = {}
    folder = Path(args["folder"])
    for wanted in args["files"]:
        # Ollama's store takes the weights over, under their own hash.
        blobs = folder.parent.parent.joinpath("stores").glob("*/blobs/sha256-" + wanted["sha256"])
        for path in (folder.joinpath(*wanted["path"].split("/")), *blobs):
            handle = opened(path, wanted["size"])
            if handle >= 0:
                found[wanted["sha256"]] = (Path(f"/proc/self/fd/{handle}"), wanted["size"])
                break
        else:
            raise FileNotFoundError(wanted["path"])
    return found


def opened(path: Path, size: int) -> int:
    """A handle of a regular file of this size; -1 where there is none that we may read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_size == size:
        return handle
    os.close(handle)
    return -1


def address() -> str:
    """The address of this gateway at which sshd was reached, which others of its site reach too."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else ""


def main(mark: str, args: dict[str, Any]) -> None:
    """The first line says where it listens, or why it does not."""
    threading.Timer(float(args["seconds"]), os._exit, (0,)).start()
    server, here = RangeServer(), address()
    try:
        if not here:
            raise OSError(0, "sshd does not say at which address")
        answer: dict[str, Any] = {"address": here, "port": 0}
        server.allow(Grant(held(args), 0, str(args["token"]), most=int(args["connections"])))
        answer["port"] = server.listen_on(here)
    except FileNotFoundError as error:
        answer = {"missing": str(error).encode("ascii", "replace").decode()[:200]}
    except OSError as error:
        answer = {"missing": f"it cannot listen ({error.strerror})"}
    sys.stdout.write(f"\n{mark} {json.dumps(answer)}\n")
    sys.stdout.flush()
    while answer.get("port") and sys.stdin.buffer.read(4096):
        pass
    os._exit(0)
