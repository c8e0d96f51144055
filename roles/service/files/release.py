"""Host side of a release: its directory, the switch to it, the way back, and the removal of everything."""

from __future__ import annotations

import os
import re

import hostdocker
import hostjournal
from hostlib import (
    HostError,
    Json,
    inside,
    link_atomic,
    link_target,
    own_directory,
    read_bytes,
    read_json,
    write_atomic,
)
from hostrun import clean, command, serve
from hostunit import (
    FOLDER,
    MAIN,
    PROJECTS,
    REHEARSAL,
    REHEARSAL_FOLDER,
    REHEARSAL_UNIT,
    UNITS,
    drop,
    enable,
    end_rehearsal,
    must,
    shown,
    stop,
    traces,
)
from removal import erase, remove

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
    """systemd can read the units of the release, and Compose its files. Raises HostError with their complaints."""
    release = release_of(args)
    for unit in units_of(release):
        path = os.path.join(release, unit)
        status, output = command("systemd-analyze", "verify", "--man=no", path, timeout=60.0)
        about = [line for line in output.splitlines() if unit in line or path in line]
        if status not in (0, 127) and about:  # 127: no tool, no complaint
            raise HostError(f"systemd refuses the unit {path}: {clean(' '.join(about), 1000)}")
    for name in sorted(os.listdir(release)):
        if name.endswith(".yml"):
            composed(os.path.join(release, name))
    return {"verified": True}


def composed(path: str) -> None:
    """Raises HostError where Docker Compose does not accept the file."""
    status, output = command("docker", "compose", "--file", path, "config", "--quiet", timeout=60.0)
    if status:
        raise HostError(f"docker compose refuses {path}: {clean(output, 1000)}")


def units_of(release: str) -> dict[str, bytes]:
    """Content of each unit in a release directory, by name; the first is the engine's."""
    found = {unit: read_bytes(os.path.join(release, unit)) for unit in UNITS}
    return {unit: text for unit, text in found.items() if text is not None}


def switch(args: Json, _payload: bytes) -> Json:
    """The release is the current one, its units are systemd's, enabled, and started or restarted where that is due.

    `restart`: something that the process has already read was changed. `check`: only says what would be done.
    """
    release, root = release_of(args), str(args["root"])
    wanted = units_of(release)
    changes = pending(args, wanted)
    restart = bool(args["restart"] or changes or any(shown(unit).get("ActiveState") != "active" for unit in wanted))
    if args["check"]:
        return {"changed": bool(changes) or restart, "changes": changes, "restarted": False}
    if MAIN not in wanted:
        raise HostError(f"the release {release} has no {MAIN}: run the same command again")
    end_rehearsal()
    if restart:
        # First of all, and not `restart --no-block`: a run that is killed in the middle must not leave the old process
        # behind the new unit, and the gate must not meet it.
        halt(root)
    for unit in UNITS:
        if unit not in wanted:
            drop(unit)
        elif os.path.join(FOLDER, unit) in changes:
            write_atomic(os.path.join(FOLDER, unit), wanted[unit])
    link_atomic(os.path.join("releases", args["release"]), os.path.join(root, "current"))
    if changes or any(shown(unit).get("NeedDaemonReload") == "yes" for unit in wanted):
        must("daemon-reload")
    changes += [f"enabled {unit}" for unit, text in wanted.items() if enable(unit, text.decode("utf-8", "replace"))]
    for unit in wanted if restart else ():
        command("systemctl", "reset-failed", unit)  # a unit that gave up would refuse to start; fails for a new one
        must("start", "--no-block", unit)
    return {"changed": bool(changes) or restart, "changes": changes, "restarted": restart}


def pending(args: Json, wanted: dict[str, bytes]) -> list[str]:
    """Paths that differ from what the release wants: its units, those that it has no use for, the current link."""
    changes = [os.path.join(FOLDER, unit) for unit in wanted if not holds(os.path.join(FOLDER, unit), wanted[unit])]
    surplus = [unit for unit in UNITS if unit not in wanted]
    changes += [path for unit in surplus for path in traces(unit) if os.path.lexists(path)]
    current = os.path.join(str(args["root"]), "current")
    if link_target(current) != os.path.join("releases", args["release"]):
        changes.append(current)
    return changes


def halt(root: str) -> None:
    """Nothing of ours runs: no unit, and no container that a killed client left.

    A Docker that was stopped is not asked: a native release must start without it, and the unit of one in containers
    takes down what is left when it has started Docker.
    """
    for unit in reversed(UNITS):
        stop(unit, shown(unit))
    if hostdocker.wanted(root) and hostdocker.runs():
        for project in PROJECTS:
            hostdocker.down(project)


def rehearse(args: Json, _payload: bytes) -> Json:
    """The release runs beside the one that serves, under a unit and files that are gone after a reboot.

    `files`: what the rehearsal has of its own, by name, its unit among them.
    """
    end_rehearsal()
    release_of(args)
    own_directory(REHEARSAL_FOLDER, 0o755)
    own_directory(os.path.dirname(REHEARSAL_UNIT), 0o755)
    for name, text in sorted(args["files"].items()):
        write_atomic(REHEARSAL_UNIT if name == REHEARSAL else inside(REHEARSAL_FOLDER, name), text.encode())
    must("daemon-reload")
    must("start", "--no-block", REHEARSAL)
    return {"changed": False}


def rest(args: Json, _payload: bytes) -> Json:
    """No rehearsal runs any more."""
    return {"changed": False, "ended": end_rehearsal()}


def receipt_of(args: Json) -> Json:
    """The receipt on the host, {} where there is none."""
    receipt = read_json(args["receipt"])
    return receipt if isinstance(receipt, dict) else {}


def plan_of(args: Json, name: str) -> Json:
    """The plan that the release `name` was made from. Raises HostError when it cannot be read."""
    plan = read_json(os.path.join(release_of(dict(args, release=name)), "plan.json"))
    if not isinstance(plan, dict) or plan.get("release") != name:
        raise HostError(f"the release {name} has no readable plan.json: provision the host again")
    return plan


def committed(args: Json, _payload: bytes) -> Json:
    """The plan of the release that the receipt names. Raises HostError where there is none."""
    name = str(receipt_of(args).get("release") or "")
    if not name:
        raise HostError("found no committed release on this host, needed one: provision it first")
    return {"plan": plan_of(args, name)}


def previous(args: Json, _payload: bytes) -> Json:
    """The plan and images of a release that is kept, so that it can be made the current one again.

    `to` names it; without, it is the one before the committed one. The plan's action is none for the committed one
    where it runs, else restore. Raises HostError for a release that is not kept, naming those that are.
    """
    receipt = receipt_of(args)
    now, before = (str(receipt.get(key) or "") for key in ("release", "previous_release"))
    name = str(args.get("to") or before)
    if not name or (not before and name != now):
        found = f"only {now}, which serves now" if now else "none"
        raise HostError(
            f"found no previous release on this host ({found}), needed {name or 'one'} to go back to: "
            "it was provisioned once"
        )
    if name not in (now, before):
        raise HostError(
            f"found no release {name!r} on this host, needed one that it keeps: {before} (the one before), "
            f"or {now} (serves now)"
        )
    images = hostdocker.named(release_of(dict(args, release=name)))
    lost = hostdocker.lost(images)
    if lost:
        raise HostError(
            f"found no image {lost[0]} on this host, needed it to go back to {name}: something else removed it "
            "(`docker image prune`). Nothing was switched; provision the host with the settings that it had then"
        )
    done = name == now and runs(dict(args, release=name))
    return {"plan": dict(plan_of(args, name), action="none" if done else "restore"), "images": images}


def runs(args: Json) -> bool:
    """Whether the host runs the release `args["release"]`, and no run was cut behind a switch to another one."""
    journal, wanted = read_json(os.path.join(str(args["state"]), hostjournal.NAME)), units_of(release_of(args))
    cut = isinstance(journal, dict) and hostjournal.switched(journal)
    up = all(shown(unit).get("ActiveState") == "active" for unit in wanted)
    return not cut and up and not pending(args, wanted)


def rollback(args: Json, _payload: bytes) -> Json:
    """What the receipt says is current again. Says in `to` which release serves, and its plan where that can be read.

    `to` is "" on a host without a receipt: what was brought is the caller's to remove, unless `kept`: there is a
    receipt that names no release, or none and another release than `failed` runs; the host may be serving, so nothing
    is done.
    """
    end_rehearsal()
    name = str(receipt_of(args).get("release") or "")
    if not RELEASE.fullmatch(name):
        return {"changed": False, "to": "", "restarted": False, "kept": os.path.lexists(args["receipt"]) or other(args)}
    done = switch(dict(args, release=name, restart=False, check=False), b"")
    plan = read_json(os.path.join(release_of(dict(args, release=name)), "plan.json"))
    return {"changed": done["changed"], "to": name, "restarted": done["restarted"], "kept": False, "plan": plan}


def other(args: Json) -> bool:
    """True when a release runs that is not the one that failed: only its receipt was lost, and nobody switched yet."""
    current = os.path.basename(link_target(os.path.join(str(args["root"]), "current")) or "")
    return current not in ("", args.get("failed") or current) and shown(MAIN).get("ActiveState") == "active"


if __name__ == "__main__":
    operations = {
        "stage": stage, "verify": verify, "rehearse": rehearse, "rest": rest, "switch": switch, "committed": committed,
        "previous": previous, "rollback": rollback, "remove": remove, "erase": erase,
    }  # fmt: skip
    serve(globals(), operations)
