"""Host side of a release: its directory, the switch to it, the way back, and the removal of everything."""

from __future__ import annotations

import glob
import os
import re
import time

from hostlib import (
    HostError,
    Json,
    fsync_directory,
    inside,
    link_atomic,
    link_target,
    mounts,
    own_directory,
    read_bytes,
    read_json,
    remove_tree,
    write_atomic,
)
from hostrun import clean, command, serve

UNIT_FOLDER = "/etc/systemd/system"
RELEASE = re.compile(r"r-[0-9a-f]{12}")


def release_of(args: Json) -> str:
    """Directory of the release `args["release"]`."""
    if not RELEASE.fullmatch(args["release"]):
        raise HostError(f"refusing the release name {args['release']!r}")
    return os.path.join(str(args["root"]), "releases", args["release"])


def holds(path: str, data: bytes | None) -> bool:
    """True when `path` is a regular file with this content that everybody may read and its owner write."""
    found = read_bytes(path)
    return found is not None and found == data and os.lstat(path).st_mode & 0o7777 == 0o644


def stage(args: Json, _payload: bytes) -> Json:
    """The release directory holds the given files and links; only what differs is written. `check`: nothing is."""
    root = release_of(args)
    changes, diff = [], []
    for name, text in sorted(args["files"].items()):
        path, wanted = inside(root, name), text.encode()
        if holds(path, wanted):
            continue
        changes.append(path)
        before = clean((read_bytes(path) or b"").decode("utf-8", "replace"), 20000)
        before += "\n" if before else ""
        diff.append({"before_header": path, "after_header": path, "before": before, "after": text})
        if not args["check"]:
            own_directory(root, 0o755)
            write_atomic(path, wanted)
    for name, target in sorted(args["links"].items()):
        path = inside(root, name)
        if link_target(path) == target:
            continue
        changes.append(path)
        if not args["check"]:
            own_directory(root, 0o755)
            link_atomic(target, path)
    return {"changed": bool(changes), "changes": changes, "diff": diff if args["diff"] else []}


def verify(args: Json, _payload: bytes) -> Json:
    """systemd can read the unit of the release. Raises HostError with its complaints; no tool, no complaint."""
    path = os.path.join(release_of(args), args["unit"])
    status, output = command("systemd-analyze", "verify", "--man=no", path, timeout=60.0)
    about = [line for line in output.splitlines() if args["unit"] in line or path in line]
    if status not in (0, 127) and about:
        raise HostError(f"systemd refuses the unit {path}: {clean(' '.join(about), 1000)}")
    return {"verified": status != 127}


def shown(unit: str) -> dict[str, str]:
    """What systemd says about the unit, by property name."""
    names = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID"
    _status, output = command("systemctl", "show", unit, "-p", names)
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def must(*argv: str) -> None:
    """Raises HostError when systemctl fails; the message holds what it said."""
    status, output = command("systemctl", *argv)
    if status:
        raise HostError(f"systemctl {' '.join(argv)} failed with exit status {status}: {output[-800:]}")


def switch(args: Json, _payload: bytes) -> Json:
    """The release is the current one, its unit is systemd's, enabled, and started or restarted where that is due.

    `restart`: something that the process has already read was changed. `check`: only says what would be done.
    """
    release, unit = release_of(args), args["unit"]
    installed = os.path.join(UNIT_FOLDER, unit)
    wanted = read_bytes(os.path.join(release, unit))
    current = os.path.join(str(args["root"]), "current")
    changes = []
    if not holds(installed, wanted):
        changes.append(installed)
    if link_target(current) != os.path.join("releases", args["release"]):
        changes.append(current)
    state = shown(unit)
    restart = bool(args["restart"] or changes or state.get("ActiveState") != "active")
    if args["check"]:
        return {"changed": bool(changes) or restart, "changes": changes, "restarted": False}
    if wanted is None:
        raise HostError(f"the release {release} has no {unit}: run the same command again")
    if restart:
        # First of all, and not `restart --no-block`: a run that is killed in the middle must not leave the old process
        # behind the new unit, and the gate must not meet it.
        stop(unit, state)
    if installed in changes:
        write_atomic(installed, wanted)
    link_atomic(os.path.join("releases", args["release"]), current)
    if installed in changes or shown(unit).get("NeedDaemonReload") == "yes":
        must("daemon-reload")
    if shown(unit).get("UnitFileState") != "enabled":
        changes.append("enabled")
        must("enable", "--quiet", unit)
    if restart:
        command("systemctl", "reset-failed", unit)  # a unit that gave up would refuse to start; fails for a new one
        must("start", "--no-block", unit)
    return {"changed": bool(changes) or restart, "changes": changes, "restarted": restart}


def committed(args: Json) -> Json:
    """The receipt on the host, {} where there is none."""
    receipt = read_json(args["receipt"])
    return receipt if isinstance(receipt, dict) else {}


def plan_of(args: Json, name: str) -> Json:
    """The plan that the release `name` was made from. Raises HostError when it cannot be read."""
    plan = read_json(os.path.join(release_of(dict(args, release=name)), "plan.json"))
    if not isinstance(plan, dict) or plan.get("release") != name:
        raise HostError(f"the release {name} has no readable plan.json: provision the host again")
    return plan


def previous(args: Json, _payload: bytes) -> Json:
    """The plan of the release before the committed one, so that it can be made the current one again."""
    name = str(committed(args).get("previous_release") or "")
    if not name:
        raise HostError("found no previous release on this host, needed one to go back to: it was provisioned once")
    return {"plan": plan_of(args, name)}


def rollback(args: Json, _payload: bytes) -> Json:
    """What the receipt says is current again, or, on a host without a receipt, nothing of ours is left.

    `failed` names the release that did not make it. Says in `to` which release serves ("" for none), and its plan where
    that can be read. `kept`: there is a receipt that names no release; the host may be serving, so nothing was done.
    """
    name = str(committed(args).get("release") or "")
    if not RELEASE.fullmatch(name):
        if os.path.lexists(args["receipt"]):
            return {"changed": False, "to": "", "restarted": False, "kept": True}
        gone = remove(dict(args, check=False), b"")
        return {"changed": gone["changed"], "to": "", "restarted": False}
    done = switch(dict(args, release=name, restart=False, check=False), b"")
    if args["failed"] not in (name, committed(args).get("previous_release")):
        remove_tree(release_of(dict(args, release=args["failed"])))
    plan = read_json(os.path.join(release_of(dict(args, release=name)), "plan.json"))
    return {"changed": done["changed"], "to": name, "restarted": done["restarted"], "plan": plan}


def remove(args: Json, _payload: bytes) -> Json:
    """Nothing that was installed is left: unit, drop-ins, releases, models, receipt. Nothing else is touched."""
    unit = args["unit"]
    installed = os.path.join(UNIT_FOLDER, unit)
    paths = [installed, installed + ".d", *glob.glob(installed + ".new-*"), args["root"], args["state"]]
    wanted = sorted(glob.glob(os.path.join(UNIT_FOLDER, "*.wants", unit)))
    found = [path for path in paths + wanted if os.path.lexists(path) and not bare(path)]
    state = shown(unit)
    if args["check"] or (not found and state.get("LoadState") in ("not-found", None)):
        return {"changed": bool(found), "changes": found}
    stop(unit, state)
    if os.path.lexists(installed):
        must("disable", "--quiet", unit)
    for path in paths + wanted:
        if remove_tree(path):
            fsync_directory(os.path.dirname(path))
    must("daemon-reload")
    command("systemctl", "reset-failed", unit)  # fails for a unit that never failed
    return {"changed": bool(found), "changes": found}


def bare(path: str) -> bool:
    """True for a directory that holds nothing but mount points: they belong to the host, not to us."""
    if os.path.islink(path) or not os.path.isdir(path) or not mounts(path):
        return False
    return all(bare(os.path.join(path, name)) for name in os.listdir(path))


def stop(unit: str, state: dict[str, str]) -> None:
    """The unit does not run. Raises HostError when it does not end."""
    if state.get("ActiveState") in ("inactive", "failed", None):
        return
    command("systemctl", "stop", unit, timeout=150.0)
    end = time.monotonic() + 10
    while shown(unit).get("ActiveState") not in ("inactive", "failed"):
        if time.monotonic() > end:
            raise HostError(f"{unit} does not stop; look at: journalctl -u {unit}")
        time.sleep(0.2)


if __name__ == "__main__":
    operations = {
        "stage": stage, "verify": verify, "switch": switch,
        "previous": previous, "rollback": rollback, "remove": remove,
    }  # fmt: skip
    serve(globals(), operations)
