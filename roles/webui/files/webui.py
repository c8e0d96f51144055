"""Host side of the chat page: the directory that its container may write."""

from __future__ import annotations

import os
import stat

from hostlib import HostError, Json, own_directory
from hostrun import serve

MODE = 0o700


def prepare(args: Json, _payload: bytes) -> Json:
    """`args["data"]` is a directory that user `args["user"]` alone may enter; what it holds is left as it is.

    Raises HostError where something else is in its place, or its files are somebody else's. `check`: nothing is done.
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
            return {"changed": False}
    if not args["check"]:
        own_directory(os.path.dirname(path), 0o755)
        if found is None:
            os.mkdir(path, MODE)
        os.chmod(path, MODE)
        os.chown(path, wanted, wanted)
    return {"changed": True}


if __name__ == "__main__":
    serve(globals(), {"prepare": prepare})
