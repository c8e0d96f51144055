"""Host side of a release: the switch to it, the way back, and the removal of everything."""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Collection, Mapping

import hostadmit
import hostaround
import hostdocker
import hostfront
import hostguard
import hostjournal
import hostlayout
from hostlib import (
    HostError,
    Json,
    inside,
    link_atomic,
    link_target,
    own_directory,
    read_json,
    remove_tree,
    write_atomic,
)
from hostrun import command, serve
from hostunit import (
    FOLDER,
    GATEWAY,
    GUARD,
    HEAL,
    HEAL_TIMER,
    HEALING,
    MAIN,
    PROJECTS,
    REHEARSAL,
    REHEARSAL_FOLDER,
    REHEARSAL_UNIT,
    SOCKET,
    STOPPING,
    SWITCHING,
    UNITS,
    active,
    drop,
    enable,
    end_rehearsal,
    must,
    shown,
    stays,
    stop,
    traces,
    unwant,
)
from removal import erase, remove
from staging import RELEASE, holds, inherit, release_of, stage, units_of, verify


def switch(args: Json, _payload: bytes) -> Json:
    """`switched`, to a release that was admitted where this host trusts keys."""
    hostadmit.guard_release(args, release_of(args), {}, {}, stage=False)
    return switched(args)


def switched(args: Json) -> Json:
    """The release is the current one, its units are systemd's, enabled, and started or restarted where that is due.

    `restart`: something that the process has already read was changed. `check`: only says what would be done.
    """
    release, root = release_of(args), str(args["root"])
    wanted = units_of(release)
    changes = pending(args, wanted)
    restart = bool(args["restart"] or due(root, changes) or cut() or not all(map(active, lasting(wanted))))
    if args["check"]:
        return {"changed": bool(changes) or restart, "changes": changes, "restarted": False}
    if MAIN not in wanted:
        raise HostError(f"the release {release} has no {MAIN}: run the same command again")
    end_rehearsal()
    kept = {unit for unit in (SOCKET, GATEWAY) if stays(unit, wanted, changes)} | ({GUARD} & set(wanted))
    if restart:
        # First of all, and not `restart --no-block`: a run that is killed in the middle must not leave the old process
        # behind the new unit, and the gate must not meet it.
        write_atomic(SWITCHING, b"", 0o600)
        halt(root, kept)
    install(wanted, changes)
    link_atomic(os.path.join("releases", args["release"]), os.path.join(root, "current"))
    enabled = {unit: text.decode("utf-8", "replace") for unit, text in wanted.items() if unit != HEAL}
    changes += [f"enabled {unit}" for unit, text in enabled.items() if enable(unit, text)]
    if changes or any(shown(unit).get("NeedDaemonReload") == "yes" for unit in wanted):
        must("daemon-reload")
    plan = read_json(os.path.join(release, "plan.json"))
    changes += hostfront.guard(wanted, changes, hostguard.place(plan) if isinstance(plan, dict) else None)
    if restart and SOCKET in kept:
        stop(MAIN, shown(MAIN))  # a client that came in between had the port start the old one again
    for unit in lasting(wanted) if restart else ():
        command("systemctl", "reset-failed", unit)  # a unit that gave up would refuse to start; fails for a new one
        must("start", "--no-block", unit)
    changes += hostfront.follow(wanted, changes, restart)
    if HEAL_TIMER in wanted and not active(HEAL_TIMER):
        must("start", "--no-block", HEAL_TIMER)
        changes.append(f"started {HEAL_TIMER}")
    remove_tree(SWITCHING)
    return {"changed": bool(changes) or restart, "changes": changes, "restarted": restart}


def lasting(wanted: Mapping[str, bytes]) -> list[str]:
    """The units that run as long as the release serves: those that look after it come and go, and those in front of
    it are no reason to start it anew."""
    return [unit for unit in wanted if unit not in (*HEALING, *hostfront.FRONT)]


def due(root: str, changes: list[str]) -> list[str]:
    """The changes that are a reason to start the service anew: no process of it reads the others."""
    unread = (os.path.join(root, "current"), *(os.path.join(FOLDER, unit) for unit in (*HEALING, *hostfront.FRONT)))
    return [path for path in changes if path not in unread]


def cut() -> bool:
    """Whether a switch was cut since the last boot, so that what runs may be older than its unit."""
    return os.path.lexists(SWITCHING)


def install(wanted: Mapping[str, bytes], changes: list[str]) -> None:
    """The release's units, and no others, are systemd's.

    In an order in which the host comes up again, with one release or the other, wherever its power is cut: a service
    that needs a socket comes after it, and before one comes that binds the port itself, no boot starts the socket.
    """
    surplus = [unit for unit in UNITS if unit not in wanted]
    for unit in surplus:
        unwant(unit)
    for unit in wanted:
        if os.path.join(FOLDER, unit) in changes:
            write_atomic(os.path.join(FOLDER, unit), wanted[unit])
    for unit in surplus:
        drop(unit)
    for path in hostaround.added(""):
        remove_tree(path)
        with contextlib.suppress(OSError):  # it holds something else of somebody's
            os.rmdir(os.path.dirname(path))


def pending(args: Json, wanted: dict[str, bytes]) -> list[str]:
    """Paths that differ from what the release wants: its units, those that it has no use for or that somebody added,
    what others have added to them, the current link."""
    changes = [os.path.join(FOLDER, unit) for unit in wanted if not holds(os.path.join(FOLDER, unit), wanted[unit])]
    surplus = [unit for unit in UNITS if unit not in wanted]
    changes += [path for unit in surplus for path in traces(unit) if os.path.lexists(path)]
    changes += [path for path in hostaround.added("") if path not in changes]
    current = os.path.join(str(args["root"]), "current")
    if link_target(current) != os.path.join("releases", args["release"]):
        changes.append(current)
    return changes


def halt(root: str, kept: Collection[str] = ()) -> None:
    """Nothing of ours runs: no unit but those `kept`, and no container that a killed client left.

    A Docker that was stopped is not asked: a native release must start without it, and the unit of one in containers
    takes down what is left when it has started Docker.
    """
    for unit in STOPPING:
        if unit not in kept:
            stop(unit, shown(unit))
    if hostdocker.wanted(root) and hostdocker.runs():
        for project in PROJECTS:
            hostdocker.down(project)


def rehearse(args: Json, _payload: bytes) -> Json:
    """The release runs beside the one that serves, under a unit and files that are gone after a reboot.

    `files`: what the rehearsal has of its own, by name, its unit among them.
    """
    hostadmit.guard_release(args, release_of(args), args["files"], {}, stage=False)
    end_rehearsal()
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
    half_done = cut() or (isinstance(journal, dict) and hostjournal.switched(journal))
    return not half_done and all(map(active, lasting(wanted))) and not pending(args, wanted)


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
    # The way back asks nobody whether it was signed: it served before.
    done = switched(dict(args, release=name, restart=False, check=False))
    plan = read_json(os.path.join(release_of(dict(args, release=name)), "plan.json"))
    return {"changed": done["changed"], "to": name, "restarted": done["restarted"], "kept": False, "plan": plan}


def other(args: Json) -> bool:
    """True when a release runs that is not the one that failed: only its receipt was lost, and nobody switched yet."""
    current = os.path.basename(link_target(os.path.join(str(args["root"]), "current")) or "")
    return current not in ("", args.get("failed") or current) and active(MAIN)


def here(operation: Callable[[Json, bytes], Json]) -> Callable[[Json, bytes], Json]:
    """The operation, which raises HostError where something is installed elsewhere than below `root` and `state`.

    It would take over the units of that one, and nobody would know any more what the other directories are for.
    """

    def checked(args: Json, payload: bytes) -> Json:
        wrong = hostlayout.elsewhere(str(args.get("root") or ""), str(args.get("state") or ""))
        if wrong:
            raise HostError(wrong)
        return operation(args, payload)

    return checked


if __name__ == "__main__":
    operations = {
        "inherit": inherit, "stage": stage, "verify": verify, "rehearse": rehearse, "switch": switch,
        "committed": committed, "previous": previous, "rollback": rollback, "remove": remove, "erase": erase,
    }  # fmt: skip
    serve(globals(), {"rest": rest, **{name: here(operation) for name, operation in operations.items()}})
