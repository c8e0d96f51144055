"""The end of everything that was installed on a host, and of nothing else."""

from __future__ import annotations

import os

import hostdocker
import hostlock
from hostlib import Json, fsync_directory, mounts, remove_tree
from hostunit import CREATE, MAIN, PASSED, PROJECTS, UNITS, WEBUI, drop, end_rehearsal, must, shown, stop, traces


def remove(args: Json, _payload: bytes) -> Json:
    """No unit, container, network or image of ours is left. `docker`: role docker has left notes to undo.

    What lies below `root` and `state` is for `erase`: the notes are there.
    """
    root, state = str(args["root"]), str(args["state"])
    docker = os.path.lexists(os.path.join(state, "docker.json"))
    if args["check"]:
        found = [path for unit in UNITS for path in traces(unit) if os.path.lexists(path)]
        found += [f"image {name}" for _image, name in hostdocker.ours()]
        return {"changed": bool(found), "changes": found, "docker": docker}
    gone = ["rehearsal"] if end_rehearsal() else []
    stop(CREATE, shown(CREATE))
    containers = hostdocker.wanted(root)
    found = [path for unit in (WEBUI, MAIN) for path in drop(unit)]
    if found:
        must("daemon-reload")
    if containers:
        gone += [item for project in PROJECTS for item in hostdocker.down(project)]
    gone += hostdocker.remove_images(set())
    remove_tree(PASSED)
    return {"changed": bool(found or gone), "changes": found + gone, "docker": docker}


def erase(args: Json, _payload: bytes) -> Json:
    """Releases, engines, models, receipt: nothing that was installed is left. Nothing else is touched."""
    tops = (str(args["root"]), str(args["state"]))
    found = [path for path in tops if os.path.lexists(path) and not bare(path) and not hostlock.alone_in(path)]
    for path in found if not args["check"] else ():
        remove_tree(path)
        fsync_directory(os.path.dirname(path))
    return {"changed": bool(found), "changes": found}


def bare(path: str) -> bool:
    """True for a directory that holds nothing but mount points: they belong to the host, not to us."""
    if os.path.islink(path) or not os.path.isdir(path) or not mounts(path):
        return False
    return all(bare(os.path.join(path, name)) for name in os.listdir(path))
