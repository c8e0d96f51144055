"""The end of everything that was installed on a host, and of nothing else."""

from __future__ import annotations

import contextlib
import os

import hostdocker
import hostfact
import hostlayout
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

# Directories of the system that hold what people install, and may well be empty.
SHARED = ("lib", "local", "media", "mnt", "opt", "srv")
# What role lock has there while it runs, and whom the host trusts.
KEPT = (hosttrust.FOLDER, "lock")
# What systemd keeps for an engine of its own that counts the tokens of keys, and the name that leads there.
CACHES = ("/var/cache/private/phi4-edge-key-usage", "/var/cache/phi4-edge-key-usage")


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
    """Releases, engines, models, counts, receipt, local fact: nothing that was installed is left, and nothing else.

    `keep_trust`: the keys that the host trusts stay. They must not go with an installation that failed, or whoever
    makes one fail would have the host trust everybody.
    """
    state: str = args["state"]
    # The note about it is in the state.
    facts = hostfact.traces(state) if args["check"] else hostfact.remove(state)
    kept: set[str] = set()
    if args.get("keep_trust") and hosttrust.read(state)["keys"]:
        kept = set(KEPT)
    # One may lie in the other.
    tops = sorted(((str(args["root"]), hostlayout.IN_ROOT), (state, hostlayout.IN_STATE)), key=lambda top: -len(top[0]))
    found = [path for folder, names in tops for path in parts(folder, names, kept)]
    found += [path for path in CACHES if os.path.lexists(path)]
    for path in found if not args["check"] else ():
        if os.path.lexists(path):
            remove_tree(path)
            fsync_directory(os.path.dirname(path))
    for folder in emptied([folder for folder, _names in tops]) if found and not args["check"] else ():
        with contextlib.suppress(OSError):  # it holds something, or is a mount point: then it stays
            os.rmdir(folder)
    return {"changed": bool(found or facts), "changes": facts + found}


def emptied(tops: list[str]) -> list[str]:
    """Directories that may be empty now, deepest first: both, and the one that was there for nothing but them."""
    above = os.path.dirname(tops[0])
    shared = above == os.path.dirname(tops[1]) and above.count("/") > 1 and os.path.basename(above) not in SHARED
    return [*tops, above] if shared else tops


def parts(folder: str, names: tuple[str, ...], kept: set[str]) -> list[str]:
    """What of `folder` goes: all of it where nothing else is in it, else what is ours there, without `kept`."""
    if not os.path.lexists(folder) or bare(folder) or hostlock.alone_in(folder):
        return []
    if os.path.islink(folder) or not os.path.isdir(folder):
        return [folder]
    there = sorted(os.listdir(folder))
    # What a process that was killed left lies beside its file, under a name of its own.
    ours = [name for name in there if name.partition(".new-")[0] in names and name not in kept]
    return [folder] if ours == there else [os.path.join(folder, name) for name in ours]


def bare(path: str) -> bool:
    """True for a directory that holds nothing but mount points: they belong to the host, not to us."""
    if os.path.islink(path) or not os.path.isdir(path) or not mounts(path):
        return False
    return all(bare(os.path.join(path, name)) for name in os.listdir(path))
