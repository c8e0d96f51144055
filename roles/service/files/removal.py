"""The end of everything that was installed on a host, and of nothing else."""

from __future__ import annotations

import os

import hostdocker
import hostfact
import hostlock
import hosttrust
from hostlib import Json, fsync_directory, mounts, remove_tree
from hostunit import (
    CREATE,
    PASSED,
    PROJECTS,
    STOPPING,
    SWITCHING,
    UNITS,
    drop,
    end_rehearsal,
    must,
    shown,
    stop,
    traces,
)

# What role lock has there while it runs, and whom the host trusts.
KEPT = (hosttrust.FOLDER, "lock")


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
    found = [path for unit in STOPPING for path in drop(unit)]
    if found:
        must("daemon-reload")
    if containers:
        gone += [item for project in PROJECTS for item in hostdocker.down(project)]
    gone += hostdocker.remove_images(set())
    for path in (PASSED, SWITCHING):
        remove_tree(path)
    return {"changed": bool(found or gone), "changes": found + gone, "docker": docker}


def erase(args: Json, _payload: bytes) -> Json:
    """Releases, engines, models, receipt, local fact: nothing that was installed is left. Nothing else is touched.

    `keep_trust`: the keys that the host trusts stay. They must not go with an installation that failed, or whoever
    makes one fail would have the host trust everybody.
    """
    state = str(args["state"])
    facts = hostfact.traces(state) if args["check"] else hostfact.remove(state)
    tops = [str(args["root"]), state]
    if args.get("keep_trust") and hosttrust.read(str(args["state"]))["keys"]:
        tops.pop()
        tops += [os.path.join(state, name) for name in sorted(os.listdir(state)) if name not in KEPT]
    found = [path for path in tops if os.path.lexists(path) and not bare(path) and not hostlock.alone_in(path)]
    for path in found if not args["check"] else ():
        remove_tree(path)
        fsync_directory(os.path.dirname(path))
    return {"changed": bool(found or facts), "changes": facts + found}


def bare(path: str) -> bool:
    """True for a directory that holds nothing but mount points: they belong to the host, not to us."""
    if os.path.islink(path) or not os.path.isdir(path) or not mounts(path):
        return False
    return all(bare(os.path.join(path, name)) for name in os.listdir(path))
