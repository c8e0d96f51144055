"""A release's directory on the host: what it holds, and whether systemd and Docker can read it."""

from __future__ import annotations

import os
import re

import hostadmit
import hostdocker
from hostlib import (
    HostError,
    Json,
    inside,
    link_atomic,
    link_target,
    own_directory,
    read_bytes,
    read_json,
    symbolic_links,
    write_atomic,
)
from hostowner import our_owner, owner
from hostrun import clean, command
from hostunit import UNITS

# What the release keeps of its plan; no process reads it.
PLAN = "plan.json"
# The configuration of the gateway, which releases have that have one, and who reads it.
GATEWAY, HAPROXY = "gateway.cfg", "/usr/sbin/haproxy"
RELEASE = re.compile(r"r-[0-9a-f]{12}")
# Of every file of a release, with its owner.
WANTED = "mode 0644, owner %s\n"


def release_of(args: Json) -> str:
    """Directory of the release `args["release"]`."""
    if not RELEASE.fullmatch(args["release"]):
        raise HostError(f"refusing the release name {args['release']!r}")
    return os.path.join(str(args["root"]), "releases", args["release"])


def holds(path: str, data: bytes | None) -> bool:
    """True when `path` is a regular file of ours with this content that everybody may read and its owner write."""
    found = read_bytes(path)
    return found is not None and found == data and rights(path) == WANTED % our_owner()


def rights(path: str) -> str:
    """Mode and owner of a file as a difference shows them; "" where there is none."""
    if not os.path.lexists(path):
        return ""
    return f"mode {os.lstat(path).st_mode & 0o7777:04o}, owner {owner(path)}\n"


def stage(args: Json, _payload: bytes) -> Json:
    """The release directory holds the given files and links; only what differs is written. `check`: nothing is.

    `reread`: something of it that a process of the release reads had another content, or none.

    Raises HostError where this host trusts keys and the release is not made of what one of them signed. An engine's
    role stages its part first, without `state`; what the service's stages behind it is held to all of it.
    """
    root = release_of(args)
    if "state" in args:
        hostadmit.guard_release(args, root, args["files"], args["links"], stage=True)
    changes, diff, reread = [], [], False
    for name, text in sorted(args["files"].items()):
        path, wanted = inside(root, name), text.encode()
        if holds(path, wanted):
            continue
        changes.append(path)
        reread = reread or (name != PLAN and read_bytes(path) != wanted)
        before = clean((read_bytes(path) or b"").decode("utf-8", "replace"), 20000)
        before += "\n" if before else ""
        headers = {"before_header": path, "after_header": path}
        if before != text:
            diff.append({**headers, "before": before, "after": text})
        if rights(path) not in ("", WANTED % our_owner()):
            diff.append({**headers, "before": rights(path), "after": WANTED % our_owner()})
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
    return {
        "changed": bool(changes), "changes": changes, "diff": diff if args["diff"] else [], "reread": reread
    }  # fmt: skip


def inherit(args: Json, _payload: bytes) -> Json:
    """The release has the links of the committed one, where both are made of the same; `complete`: so it is.

    `made_of`: what decides where they lead, by the keys that lead to it in a plan, such as "model.digest". Where it is
    not the same nothing was done. What the links lead to is whole: the look of this run compared it with the receipt.
    `images`: those that both run, by service.
    """
    release, receipt, not_so = release_of(args), read_json(args["receipt"]), {"complete": False, "changed": False}
    name = str(receipt.get("release") or "") if isinstance(receipt, dict) else ""
    if not RELEASE.fullmatch(name) or link_target(os.path.join(args["root"], "current")) != f"releases/{name}":
        return dict(not_so, images={})
    committed = release_of(dict(args, release=name))
    plan, images = read_json(os.path.join(committed, PLAN)), hostdocker.named(committed)
    if not isinstance(plan, dict) or any(_of(plan, keys) != value for keys, value in args["made_of"].items()):
        return dict(not_so, images={})
    if hostdocker.lost(images):
        return dict(not_so, images={})
    changed = False
    for link in symbolic_links(committed):
        target = link_target(os.path.join(committed, link))
        if target and link_target(inside(release, link)) != target:
            own_directory(release, 0o755)
            link_atomic(target, inside(release, link))
            changed = True
    return {"complete": True, "changed": changed, "images": images}


def _of(plan: Json, keys: str) -> object:
    """What stands in a plan under keys that are joined by dots; None where it has none."""
    found: object = plan
    for key in keys.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


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
    if os.path.lexists(os.path.join(release, GATEWAY)):
        configured(os.path.join(release, GATEWAY))
    return {"verified": True}


def composed(path: str) -> None:
    """Raises HostError where Docker Compose does not accept the file."""
    status, output = command("docker", "compose", "--file", path, "config", "--quiet", timeout=60.0)
    if status:
        raise HostError(f"docker compose refuses {path}: {clean(output, 1000)}")


def configured(path: str) -> None:
    """Raises HostError where HAProxy does not accept the file."""
    status, output = command(HAPROXY, "-c", "-q", "-f", path, timeout=60.0)
    if status:
        raise HostError(f"HAProxy refuses {path}: {clean(output, 1000)}")


def units_of(release: str) -> dict[str, bytes]:
    """Content of each unit in a release directory, by name, in the order in which they start."""
    found = {unit: read_bytes(os.path.join(release, unit)) for unit in UNITS}
    return {unit: text for unit, text in found.items() if text is not None}
