"""Host side of the commit: the receipt of everything that is managed, then the end of what nobody needs any more."""

from __future__ import annotations

import hmac
import os
import time

import hostdocker
import hostfact
from hostlib import (
    HostError,
    Json,
    entry,
    lines_of,
    link_target,
    own_directory,
    read_bytes,
    read_json,
    read_record,
    recorded_links,
    regular_files,
    remove_tree,
    write_atomic,
    write_json,
)
from hostowner import our_owner, owner
from hostrun import serve
from hostseal import intact, sealed
from hostunit import PASSED

# The program of a release that looks after itself, and what it leaves in the state.
GATEWAY, CREDENTIALS = "gateway.cfg", "gateway"
HEALER, HEALED = "heal.py", ("heal", "heal.json")
# Kept as they are while nothing else in the receipt changes, so that a second commit is no change.
VOLATILE = ("committed_at", "phi4_edge_version")


def known_files(args: Json) -> dict[str, Json]:
    """Hashes that somebody verified before, by path: a file whose stamp still matches is not read again."""
    found = lines_of(receipt_of(args))
    for tree in trees(args):
        for name, line in read_record(tree).items():
            found[os.path.join(tree, name)] = line
    return found


def receipt_of(args: Json) -> Json:
    """The receipt on the host; {} where there is none, or one that was edited: none of its lines can be relied on."""
    found = read_json(args["receipt"]) if intact(read_bytes(args["receipt"]) or b"") else None
    return found if isinstance(found, dict) else {}


def remembered(args: Json) -> Json:
    """Which release was committed, and the one before: of the local fact, where no receipt tells any more."""
    fact, there = read_json(hostfact.path()), listed(os.path.join(args["root"], "releases"))
    known = fact if isinstance(fact, dict) else {}
    return {name: known[name] for name in ("release", "previous_release") if known.get(name) in there}


def release_of(args: Json) -> str:
    """Directory of the release that is committed."""
    return os.path.join(args["root"], "releases", args["body"]["release"])


def trees(args: Json) -> list[str]:
    """The release's directory, and every directory that it links to: engine, model, store."""
    return [release_of(args), *sorted(linked(release_of(args)))]


def linked(release: str) -> set[str]:
    """Directories that the links of a release directory name; none where there is no such directory."""
    targets = [link_target(os.path.join(release, name)) for name in listed(release)]
    found = {os.path.normpath(os.path.join(release, target)) for target in targets if target}
    return {path for path in found if os.path.isdir(path)}


def paths_of(args: Json) -> list[str]:
    """Every file of the release: its directory, what it links to, its units, and what it tells other people's plays."""
    paths = [os.path.join(tree, name) for tree in trees(args) for name in regular_files(tree)]
    return sorted(paths + [path for path in (*args["files"], hostfact.path()) if os.path.lexists(path)])


def managed(args: Json) -> list[Json]:
    """One line for every file of the release, with its owner."""
    known = known_files(args)
    return [dict(entry(path, path, known.get(path)), owner=owner(path)) for path in paths_of(args)]


def strangers(args: Json) -> list[str]:
    """Files of the release that somebody gave to another user or group. Whoever owns one can change it."""
    return [path for path in paths_of(args) if owner(path) != our_owner()]


def take_back(paths: list[str]) -> None:
    """The files belong to us again. Their content is hashed after this, like that of any other."""
    for path in paths:
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)


def commit(args: Json, _payload: bytes) -> Json:
    """The receipt says what is on the host, durably; releases that are neither current nor previous are gone.

    `check`: only says whether the receipt would change.
    """
    before = receipt_of(args) or remembered(args)
    # A release that was taken back because it is bad is nothing to go back to.
    previous = None if args.get("forget") else before_this(before, args["body"]["release"])
    receipt = dict(args["body"], previous_release=previous)
    kept = dict(receipt, **{key: before[key] for key in VOLATILE if key in before})
    if args["check"]:
        same = before.get("plan_fingerprint") == receipt["plan_fingerprint"]
        return {"changed": not same or bool(strangers(args)) or hostfact.differs(kept)}
    must_be_current(args)
    gate = passed(args)
    own_directory(os.path.dirname(args["receipt"]), 0o755)
    foreign = strangers(args)
    hostfact.write(args["state"], kept)
    take_back(foreign)
    receipt["files"] = managed(args)
    receipt["links"] = [{"path": path, "target": link_target(path)} for path in links(args)]
    if lasting(receipt) == lasting(before):
        write_json(PASSED, gate, 0o600)
        return {"changed": bool(prune(args, before)) or bool(foreign), "file_count": len(receipt["files"])}
    receipt["committed_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    renew(args, receipt)
    write_atomic(args["receipt"], sealed(receipt))
    write_json(PASSED, gate, 0o600)
    return {"changed": True, "file_count": len(receipt["files"]), "pruned": prune(args, receipt)}


def lasting(receipt: Json) -> Json:
    """What two receipts of the same state have in common."""
    return {key: value for key, value in receipt.items() if key not in (*VOLATILE, "seal")}


def renew(args: Json, receipt: Json) -> None:
    """The fact tells of this receipt, and the receipt knows the fact; it comes first, so that a cut shows as drift."""
    hostfact.write(args["state"], receipt)
    path = hostfact.path()
    line = dict(entry(path, path, None), owner=owner(path))
    receipt["files"] = [line if known["path"] == path else known for known in receipt["files"]]


def links(args: Json) -> list[str]:
    """Every link that makes up the release or came with its files, and the one that makes it the current release."""
    release = release_of(args)
    paths = [os.path.join(release, name) for name in listed(release)]
    brought = [os.path.join(tree, line["path"]) for tree in trees(args) for line in recorded_links(tree)]
    return [os.path.join(args["root"], "current"), *(path for path in paths if os.path.islink(path)), *brought]


def must_be_current(args: Json) -> None:
    """Raises HostError unless the release that passed the gate is still the one that the host would start.

    Another controller may have switched, or gone back, since: its release must not be committed under our name.
    """
    wanted = os.path.join("releases", args["body"]["release"])
    found = link_target(os.path.join(args["root"], "current"))
    if found != wanted:
        raise HostError(f"found {found} current on the host, needed {wanted}: another run changed it; run again")


def passed(args: Json) -> Json:
    """What the gate of this run noted, without its proof: that is good for one receipt.

    Raises HostError where no gate of this run proved the release on this host. The note lies in memory: a host that was
    started anew must pass again.
    """
    noted = read_json(PASSED)
    known = noted if isinstance(noted, dict) else {}
    proof = known.pop("proof", None)
    same = isinstance(proof, str) and proof != "" and hmac.compare_digest(proof, str(args["proof"]))
    if not same or known.get("release") != args["body"]["release"]:
        raise HostError(
            f"found no gate of this run that {args['body']['release']} passed on this host, needed one before its "
            "receipt is written: run the whole again"
        )
    return known


def before_this(receipt: Json, release: str) -> str | None:
    """The release to go back to after `release` was committed over `receipt`."""
    name = receipt.get("previous_release" if receipt.get("release") == release else "release")
    return name if isinstance(name, str) else None


def sweep(args: Json, _payload: bytes) -> Json:
    """Whatever neither the committed nor the previous release needs is gone.

    Nothing happens without a receipt, nor where it names no release that is here: everything would seem unneeded.
    """
    receipt = read_json(args["receipt"])
    known = isinstance(receipt, dict) and receipt.get("release") in listed(os.path.join(args["root"], "releases"))
    gone = prune(args, receipt) if known else []
    return {"changed": bool(gone), "pruned": gone}


def repacked(root: str, state: str, release: str) -> list[str]:
    """Repacked weights that the committed release does not want, or that are of no model that is here."""
    folder = os.path.join(state, "repacked")
    environment = read_bytes(os.path.join(root, "releases", release, "environment"), 1 << 16) or b""
    wanted = b"PHI4_REPACKED=" in environment
    models = {name[:32] for name in listed(os.path.join(state, "models"))}
    stale = [name for name in listed(folder) if not wanted or name.split("-")[0] not in models]
    return [os.path.join(folder, name) for name in stale] if wanted else [folder]


def prune(args: Json, receipt: Json) -> list[str]:
    """What was removed: old releases, their images, whatever no kept release links to, staging."""
    root, state = args["root"], args["state"]
    releases = os.path.join(root, "releases")
    keep = {str(name) for name in (receipt.get("release"), receipt.get("previous_release")) if name}
    gone = hostdocker.remove_images(
        {image for name in keep for image in hostdocker.named(os.path.join(releases, name)).values()}
    )
    old = [os.path.join(releases, name) for name in listed(releases) if name not in keep]
    needed = {os.path.realpath(path) for name in keep for path in linked(os.path.join(releases, name))}
    for folder in (os.path.join(root, "engines"), os.path.join(state, "models"), os.path.join(state, "stores")):
        paths = [os.path.join(os.path.realpath(folder), name) for name in listed(folder)]
        old += [path for path in paths if path not in needed and path[: -len(".json")] not in needed]
    old += [os.path.join(state, "staging", name) for name in listed(os.path.join(state, "staging"))]
    old += repacked(root, state, str(receipt.get("release")))
    if not any(os.path.lexists(os.path.join(releases, name, GATEWAY)) for name in keep):
        old.append(os.path.join(state, CREDENTIALS))  # what let clients in, a private key among it
    if not os.path.lexists(os.path.join(releases, str(receipt.get("release")), HEALER)):
        old += [os.path.join(state, name) for name in HEALED]
    return gone + [path for path in old if remove_tree(path)]


def listed(folder: str) -> list[str]:
    """Sorted names in `folder`; none where there is no such folder, or a link: what it points to is not ours."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) and not os.path.islink(folder) else []


if __name__ == "__main__":
    serve(globals(), {"commit": commit, "sweep": sweep})
