"""Docker's configuration on a host: our settings merged into /etc/docker/daemon.json, and the way back.

What is there wins over our defaults. What we added, and the file as it was found, are remembered in docker.json below
the state directory, so that `restore` leaves the host as it was. Several roles may add settings, each under its name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import stat

from dockerlib import (
    BACKUP,
    beyond,
    conflicts,
    digest,
    fitting,
    info,
    memory_path,
    merged,
    parse,
    put,
    read,
    recall,
    remember,
    without,
)
from hostlib import HostError, Json, fsync_directory, system_directory, write_atomic
from hostpath import search_path
from hostrun import clean, command, serve


def desired(args: Json, known: Json, base: Json) -> tuple[Json, Json]:
    """(the settings as they shall be, what every role wishes). Raises HostError where a needed setting conflicts."""
    wishes = dict(known.get("wishes", {}))
    wishes[args["owner"]] = {"defaults": args["defaults"], "required": args["required"]}
    problems = conflicts(base, args["required"])
    if problems:
        raise HostError(f"{args['path']} was set by hand to something that cannot work: {'; '.join(problems)}")
    swarm = info().get("swarm") not in (None, "", "inactive")
    result = base
    for wish in wishes.values():
        result = merged(merged(result, wish["required"]), fitting(base, wish["defaults"], swarm))
    return result, wishes


def merge(args: Json, _payload: bytes) -> Json:
    """daemon.json has our settings beside those that are there. `pending`: Docker has yet to be restarted for them."""
    path, known = args["path"], recall(args)
    data = read(path)
    current = parse(path, data)
    ours = known.get("daemon", {})
    base = without(current, ours.get("added", {}))
    result, wishes = desired(args, known, base)
    changed = result != current
    if changed and not args["check"]:
        text = (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode()
        validate(path, text)
        known["wishes"], known["pending"] = wishes, True
        known["daemon"] = {**origin(ours, data, path), "added": beyond(result, base), "sha256": digest(text)}
        remember(args, known)
        if data is not None and digest(data) != ours.get("sha256"):
            put(path + BACKUP, data, known["daemon"])
        put(path, text, known["daemon"])
    if known.get("wishes") != wishes and not args["check"]:  # also where all of them were there already
        remember(args, {**known, "wishes": wishes})
    pending = changed or bool(known.get("pending"))
    return {"changed": changed, "pending": pending, "changes": [path] if changed else [], **affected(pending, result),
            "diff": difference(path, data, result) if args["diff"] and changed else []}  # fmt: skip


def difference(path: str, data: bytes | None, result: Json) -> list[Json]:
    before = clean((data or b"").decode("utf-8", "replace"), 20000)
    after = json.dumps(result, indent=2) + "\n"
    return [{"before_header": path, "after_header": path, "before": before + "\n" if before else "", "after": after}]


def affected(pending: bool, settings: Json) -> Json:
    """What a restart would interrupt: names of running containers, and whether they outlive it (live-restore)."""
    if not pending:
        return {"running": [], "survive": True}
    status, output = command("docker", "ps", "--format", "{{.Names}}", timeout=20.0)
    names = output.split() if status == 0 else []
    return {"running": names[:50], "survive": settings.get("live-restore") is True}


def origin(ours: Json, data: bytes | None, path: str) -> Json:
    """The file as it was found, with mode and owner. `original` "lost": somebody changed it after us, so only our own
    settings can be taken back."""
    now = {"mode": 0o644, "uid": os.geteuid(), "gid": os.getegid()}
    if data is None:
        return {"original": "absent", "text": "", **now}
    status = os.lstat(path)
    now = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    text = base64.b64encode(data).decode()
    if not ours:
        return {"original": "text", "text": text, **now}
    untouched = digest(data) == ours["sha256"] or (ours["original"], ours["text"]) == ("text", text)
    kept = {"original": ours["original"], "text": ours["text"]} if untouched else {"original": "lost", "text": ""}
    return {**kept, **now}


def flags() -> list[str]:
    """The arguments that systemd gives to dockerd; variables are left out."""
    _status, output = command("systemctl", "show", "docker.service", "-p", "ExecStart", "--value")
    words = output.partition("argv[]=")[2].partition(" ; ")[0].split()
    return [word for word in words[1:] if not word.startswith("$")]


def validate(path: str, text: bytes) -> None:
    """Docker accepts these settings together with its arguments; an engine older than 23 cannot say.

    Raises HostError with its words; the file itself was not touched.
    """
    if not shutil.which("dockerd", path=search_path()):
        return
    trial = os.path.join(os.path.dirname(path), ".phi4-edge-trial.json")
    system_directory(os.path.dirname(path))
    write_atomic(trial, text, 0o600)
    try:
        status, output = command("dockerd", *flags(), "--validate", "--config-file", trial, timeout=60.0)
    finally:
        os.unlink(trial)
    if status and "unknown flag: --validate" not in output:
        raise HostError(f"Docker refuses the merged {path}, so it was left as it is: {output[-800:]}")


def restore(args: Json, _payload: bytes) -> Json:
    """daemon.json is as it was found, or, where somebody changed it since, as it is without our settings.

    `owners` are the roles whose settings were in it.
    """
    path, known = args["path"], recall(args)
    ours = known.get("daemon")
    changes = []
    if ours:
        data = read(path)
        target, text = restored(path, data, ours)
        if target != digest(data):
            changes.append(path)
        if not args["check"]:
            reset(path, text, data, ours)
    changes += [found for found in (path + BACKUP, memory_path(args)) if os.path.lexists(found)]
    if not args["check"]:
        for found in (path + BACKUP, memory_path(args)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(found)
    return {
        "changed": bool(changes),
        "changes": changes,
        "reload": path in changes,
        "owners": sorted(known.get("wishes", {})),
    }


def restored(path: str, data: bytes | None, ours: Json) -> tuple[str, bytes | None]:
    """(digest, content) that the file shall have; None for no file."""
    if digest(data) == ours["sha256"] and ours["original"] != "lost":
        text = None if ours["original"] == "absent" else base64.b64decode(ours["text"])
        return digest(text), text
    current = parse(path, data)
    rest = without(current, ours["added"])
    if rest == current:
        return digest(data), data
    text = None if not rest and ours["original"] == "absent" else (json.dumps(rest, indent=2) + "\n").encode()
    return digest(text), text


def reset(path: str, text: bytes | None, data: bytes | None, ours: Json) -> None:
    """The file holds `text`, or does not exist for None; nothing is written where it does already."""
    if text == data:
        return
    if text is None:
        os.unlink(path)
        fsync_directory(os.path.dirname(path))
    else:
        put(path, text, ours)


if __name__ == "__main__":
    serve(globals(), {"merge": merge, "restore": restore})
