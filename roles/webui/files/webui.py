"""Host side of the chat page: the directory that its container may write, and the page's administrator."""

from __future__ import annotations

import json
import os
import socket
import stat
import time

from hostlib import HostError, Json, own_directory
from hostrun import clean, serve

MODE = 0o700
# What start.py in the container has there: a mark that the page has an administrator, and where it asks for one.
MADE, DOOR = ".administrator", ".administrator.sock"
ACCOUNTS = "webui.db"
POLL_SECONDS = 1.0
# For hashing one password on a slow board.
ORDER_SECONDS = 90.0
LIMIT = 4096


def prepare(args: Json, _payload: bytes) -> Json:
    """`args["data"]` is a directory that user `args["user"]` alone may enter; what it holds is left as it is.

    `settled`: the page has accounts, and needs no administrator from us. Raises HostError where something else is in
    its place, or its files are somebody else's. `check`: nothing is done.
    """
    path, user = str(args["data"]), int(args["user"])
    wanted = user if os.geteuid() == 0 else os.geteuid()
    found = os.lstat(path) if os.path.lexists(path) else None
    if found is not None:
        if not stat.S_ISDIR(found.st_mode):
            raise HostError(f"{path} is no directory: move it away")
        # Root's: a run that was killed between the two steps below. Files of somebody else are not ours to give away.
        if found.st_uid not in (wanted, os.geteuid()) or (found.st_uid != wanted and os.listdir(path)):
            raise HostError(f"{path} belongs to uid {found.st_uid}, needed uid {wanted}: move it away, or chown -R it")
        if (found.st_uid, stat.S_IMODE(found.st_mode)) == (wanted, MODE):
            return {"changed": False, "settled": settled(path)}
    if not args["check"]:
        own_directory(os.path.dirname(path), 0o755)
        if found is None:
            os.mkdir(path, MODE)
        os.chmod(path, MODE)
        os.chown(path, wanted, wanted)
    return {"changed": True, "settled": found is not None and settled(path)}


def settled(folder: str) -> bool:
    """Whether the page in `folder` has accounts, as far as that can be seen from outside: it makes them at a start."""
    try:
        return kind(os.path.join(folder, DOOR)) == 0 and os.lstat(os.path.join(folder, ACCOUNTS)).st_size > 0
    except OSError:
        return False


def administrator(args: Json, payload: bytes) -> Json:
    """The page has an administrator: `payload`, a line of JSON with name, email and password, where it has none yet.

    The page is waited for at most `args["seconds"]`. Raises HostError where it asks for one and `payload` is empty, and
    when it does not take him.
    """
    folder, end = str(args["data"]), time.monotonic() + float(args["seconds"])
    while time.monotonic() < end:
        if kind(os.path.join(folder, MADE)) == stat.S_IFREG:
            return {"changed": False, "made": False}
        door = os.path.join(folder, DOOR)
        if kind(door) == stat.S_IFSOCK:
            if not payload:
                raise HostError("found no password for the chat page's administrator, needed webui_admin_password")
            answer = ordered(door, payload)
            if answer.get("made") is True:
                return {"changed": True, "made": True}
            if answer:
                raise HostError(
                    f"the chat page did not take its administrator: {clean(str(answer.get('detail')), 300)}"
                )
        time.sleep(POLL_SECONDS)
    raise HostError(
        f"the chat page did not ask for its administrator within {args['seconds']} s; look at: "
        "journalctl -u phi4-edge-webui"
    )


def kind(path: str) -> int:
    """What is at `path` itself, as in st_mode; 0 for nothing."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return 0


def ordered(door: str, payload: bytes) -> Json:
    """What the page answers to an order; {} where nobody is behind the socket, such as after a start that was cut."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ORDER_SECONDS)
        try:
            client.connect(door)
            client.sendall(payload)
            answer = json.loads(client.recv(LIMIT) or b"{}")
        except (OSError, ValueError):
            return {}
    return answer if isinstance(answer, dict) else {}


if __name__ == "__main__":
    serve(globals(), {"prepare": prepare, "administrator": administrator})
