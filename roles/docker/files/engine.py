"""Docker itself on a host: enabled, started, restarted where its configuration changed, and answering."""

from __future__ import annotations

import contextlib
import grp
import os
import time

from dockerlib import BACKUP, digest, info, parse, put, read, recall, remember
from hostlib import HostError, Json
from hostrun import command, serve

UNIT = "docker.service"
# Whom Docker's socket belongs to; units of ours ask Docker with its rights.
GROUP, SOCKET = "docker", "/run/docker.sock"
ANSWER_SECONDS = 90.0
RELOAD_SECONDS = 10.0


def state() -> dict[str, str]:
    """What systemd says about Docker, by property name."""
    _status, output = command("systemctl", "show", UNIT, "-p", "LoadState,ActiveState,UnitFileState")
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def systemctl(*words: str) -> None:
    """Raises HostError with what systemctl said, and the journal's last lines."""
    status, output = command("systemctl", *words, timeout=180.0)
    if status:
        raise HostError(f"systemctl {' '.join(words)} failed: {output[-300:]} {journal()}")


def journal() -> str:
    _status, output = command("journalctl", "--unit", UNIT, "--lines", "8", "--no-pager", "--output", "cat")
    return output[-900:]


def answer(seconds: float = ANSWER_SECONDS) -> Json:
    """What the engine says about itself, as soon as it says so. Raises HostError when it does not in time."""
    end = time.monotonic() + seconds
    while True:
        found = info()
        if found.get("version"):
            return found
        if time.monotonic() > end:
            raise HostError(f"Docker does not answer after {seconds:.0f} s: {journal()}")
        time.sleep(0.5)


def compose() -> str:
    """Version of Compose. Raises HostError when Docker has no Compose 2."""
    status, output = command("docker", "compose", "version", "--short", timeout=30.0)
    if status or not output.lstrip("v").startswith(tuple("23456789")):
        raise HostError(f"`docker compose version` gives no version 2 ({output[-200:]}): install Compose 2")
    return output.splitlines()[0]


def keep_alive(args: Json) -> None:
    """Where the new configuration says that containers outlive a restart, Docker knows it before that restart."""
    settings = parse(args["path"], read(args["path"]))
    if settings.get("live-restore") is not True or info().get("live_restore") is not False:
        return
    systemctl("reload", UNIT)
    end = time.monotonic() + RELOAD_SECONDS
    while info().get("live_restore") is not True and time.monotonic() < end:
        time.sleep(0.2)


def restart(args: Json, known: Json, active: bool) -> Json:
    """Docker runs with the merged configuration. Where it does not come up, it runs as before: HostError says so."""
    if active:
        keep_alive(args)
    try:
        command("systemctl", "reset-failed", UNIT)  # a unit that gave up would refuse to start
        systemctl("restart", UNIT)
        found = answer()
    except HostError as error:
        back(args, known)
        raise HostError(f"{error} (Docker was started again with {args['path']} as it was found)") from None
    known["pending"] = False
    remember(args, known)
    return found


def back(args: Json, known: Json) -> None:
    """The configuration as it was before we merged into it, and Docker started with it; what we did is forgotten."""
    path, ours = args["path"], known.get("daemon", {})
    before = read(path + BACKUP)
    if before is not None:
        put(path, before, ours)
    elif ours.get("original") == "absent" and digest(read(path)) == ours["sha256"]:
        os.unlink(path)
    remember(args, {"format": known["format"]})
    command("systemctl", "reset-failed", UNIT)
    command("systemctl", "restart", UNIT, timeout=180.0)


def group_there() -> bool:
    """Whether the group exists that may use Docker's socket."""
    with contextlib.suppress(KeyError):
        return bool(grp.getgrnam(GROUP))
    return False


def add_group() -> None:
    """The group exists, with the number that Docker's socket still has where that is nobody else's."""
    number: list[str] = []
    with contextlib.suppress(OSError):
        owner = os.stat(SOCKET).st_gid
        number = ["--gid", str(owner)] if owner and not named(owner) else []
    status, output = command("groupadd", "--system", *number, GROUP)
    if status and not group_there():
        raise HostError(f"groupadd {GROUP} failed with exit status {status}: {output[-300:]}")


def named(number: int) -> bool:
    """Whether a group has this number."""
    with contextlib.suppress(KeyError):
        return bool(grp.getgrgid(number))
    return False


def run(args: Json, _payload: bytes) -> Json:
    """Docker is enabled, runs with the configuration on disk, and answers, and so does Compose."""
    known, found, changes = recall(args), state(), []
    if found.get("LoadState") == "masked":
        raise HostError(f"{UNIT} is masked: run `systemctl unmask {UNIT}` on the host")
    if not group_there():
        changes.append(f"group {GROUP} added")
    if found.get("UnitFileState") != "enabled":
        changes.append("enabled")
    pending, active = bool(known.get("pending")), found.get("ActiveState") == "active"
    if pending or not active:
        changes.append("restarted" if active else "started")
    if args["check"]:
        return {"changed": bool(changes), "changes": changes}
    if f"group {GROUP} added" in changes:
        add_group()
    if "enabled" in changes:
        systemctl("enable", "--quiet", UNIT)
    if pending:
        engine = restart(args, known, active)
    else:
        if not active:
            systemctl("start", UNIT)
        engine = answer()
    return {
        "changed": bool(changes), "changes": changes, "compose": compose(), "engine": engine["version"],
        "runc": runc(), "storage": engine.get("storage", ""),
    }  # fmt: skip


def runc() -> str:
    """The first line of `runc --version`, "" where it is not on the PATH."""
    status, output = command("runc", "--version", timeout=20.0)
    return output.splitlines()[0] if status == 0 and output else ""


def reload(args: Json, _payload: bytes) -> Json:
    """After `restore`: Docker takes the configuration as it was found.

    It is restarted where no container runs. Otherwise it is told to read what it can without a restart; the rest waits
    for the next one, because containers of others are not ours to stop.
    """
    if args["check"] or state().get("ActiveState") != "active":
        return {"changed": False, "restarted": False, "running": 0}
    running = int(info().get("running", 0))
    if running:
        systemctl("reload", UNIT)
        return {"changed": True, "restarted": False, "running": running}
    command("systemctl", "reset-failed", UNIT)
    systemctl("restart", UNIT)
    answer()
    return {"changed": True, "restarted": True, "running": 0}


if __name__ == "__main__":
    serve(globals(), {"run": run, "reload": reload})
