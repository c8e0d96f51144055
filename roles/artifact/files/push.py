"""Host side of the artifact push: says what is there, takes pieces, puts the verified whole in place.

A file that is not complete waits in the staging directory (root only); its length is how far it came. Each piece is
checked as it arrives, each file when its last piece is written, and only a directory that holds every byte is renamed.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import hoststores
from hostlib import (
    HostError,
    Json,
    disk_full,
    entry,
    free_bytes,
    fsync_directory,
    given_up,
    inside,
    link_atomic,
    link_target,
    own_directory,
    read_json,
    read_record,
    recorded_links,
    regular_files,
    remove_tree,
    sha256_file,
    stamp,
    symbolic_links,
    write_json,
    write_record,
)
from hostrun import serve


def partial(args: Json) -> str:
    """Directory in which this artifact is being collected."""
    return os.path.join(str(args["staging"]), str(args["digest"]))


def in_place(args: Json) -> list[str]:
    """Names that the destination already holds, verified; a record saves reading what did not change."""
    root, record, good = args["destination"], read_record(args["destination"]), []
    for wanted in args["files"]:
        known = record.get(wanted["path"], {})
        try:
            path = inside(root, wanted["path"])
            now = known if in_store(root, path, known) else entry(path, wanted["path"], known)
        except OSError:
            continue
        if (now.get("sha256"), now.get("mode")) == (wanted["sha256"], wanted["mode"]):
            good.append(wanted["path"])
    return good


def in_store(root: str, path: str, known: Json) -> bool:
    """True for a file that went when a store was made from it, while that store is whole."""
    return given_up(path, known) and hoststores.holder(hoststores.place(root), str(known.get("sha256")))[0] != ""


def collected(args: Json, good: list[str]) -> dict[str, int]:
    """Bytes that staging holds of each file that is still wanted."""
    have = {}
    for wanted in args["files"]:
        if wanted["path"] in good:
            continue
        try:
            size = os.lstat(inside(partial(args), wanted["path"])).st_size
        except OSError:
            size = 0
        have[wanted["path"]] = size if size <= wanted["size"] else 0
    return have


def survey(args: Json, _payload: bytes) -> Json:
    """What is there, what is missing, and how much room there is. Changes nothing."""
    good = in_place(args)
    have = collected(args, good)
    names = {wanted["path"] for wanted in args["files"]}
    extra = [name for name in regular_files(args["destination"]) if name not in names]
    missing = sum(wanted["size"] - have.get(wanted["path"], wanted["size"]) for wanted in args["files"])
    recorded = set(read_record(args["destination"])) == names
    return {
        "complete": not have and not extra and recorded and links_right(args),
        "have": have,
        "missing": missing,
        "free": free_bytes(args["staging"]),
    }


def links_right(args: Json) -> bool:
    """True when the destination holds exactly the wanted symbolic links, and its record names them."""
    root, wanted = args["destination"], {line["path"]: line["target"] for line in args["links"]}
    found = {name: link_target(os.path.join(root, name)) for name in symbolic_links(root)}
    return found == wanted == {line["path"]: line["target"] for line in recorded_links(root)}


def store(args: Json, payload: bytes) -> Json:
    """Write the pieces of `payload` where they belong; a file that is whole now is verified.

    Writing a piece a second time is harmless. A full disk gives the room back: a host that cannot write its log is
    worse off than a push that starts again.
    """
    try:
        return take(args, payload)
    except OSError as error:
        if not disk_full(error):
            raise
        remove_tree(partial(args))
        remove_tree(partial(args) + ".json")
        raise HostError(full_message(args), disk_full=True) from None


def take(args: Json, payload: bytes) -> Json:
    """Split the payload into its pieces; the first one that was damaged on the way is named and ends it."""
    own_directory(args["staging"], 0o700)
    start = 0
    for piece in args["pieces"]:
        data = payload[start : start + piece["length"]]
        start += piece["length"]
        if hashlib.sha256(data).hexdigest() != piece["sha256"]:
            return {"damaged": piece["path"]}
        path = inside(partial(args), piece["path"])
        own_directory(os.path.dirname(path), 0o755)
        append(path, piece["offset"], data)
        if piece["offset"] + piece["length"] == piece["size"]:
            wanted = {"path": piece["path"], "sha256": piece["file_sha256"]}
            verify(args, wanted, piece["offset"] == 0 and piece["sha256"] == piece["file_sha256"])
    return {}


def append(path: str, offset: int, data: bytes | bytearray) -> None:
    """`path` ends with `data` at `offset`. Raises HostError when what comes before is not there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        found = os.fstat(stream.fileno()).st_size
        if found < offset:
            raise HostError(f"{path} holds {found} bytes, the piece starts at {offset}: run the same command again")
        os.ftruncate(stream.fileno(), offset)
        stream.seek(offset)
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]


def full_message(args: Json) -> str:
    """Found and needed for a disk that filled up in the middle."""
    need = sum(wanted["size"] for wanted in args["files"])
    free = free_bytes(args["staging"])
    return (
        f"the disk became full while {args['name']} was being copied: found {free} bytes free at {args['staging']} "
        f"after giving back what had arrived, needed {need}; something else is filling it. Free some space and run "
        "the same command again"
    )


def verified(args: Json) -> dict[str, Any]:
    """Stamps of the staged files whose content was verified, by name."""
    found = read_json(partial(args) + ".json")
    return found if isinstance(found, dict) else {}


def verify(args: Json, wanted: Json, whole: bool) -> bool:
    """True when the staged file is what it shall be, durably; a wrong one is removed so that it is sent again.

    `whole`: it came as one piece, and the piece was verified as it arrived.
    """
    path = inside(partial(args), wanted["path"])
    known = verified(args)
    if known.get(wanted["path"]) == stamp(os.lstat(path)):
        return True
    if not whole and sha256_file(path) != wanted["sha256"]:
        os.unlink(path)
        return False
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(handle, mode_of(args, wanted["path"]))
        os.fsync(handle)
    finally:
        os.close(handle)
    known[wanted["path"]] = stamp(os.lstat(path))
    write_json(partial(args) + ".json", known, 0o600)
    return True


def mode_of(args: Json, name: str) -> int:
    """Permissions that the file shall have: executables come with theirs."""
    return 0o755 if any(line["path"] == name and line["mode"] == "0755" for line in args["files"]) else 0o644


def finish(args: Json, _payload: bytes) -> Json:
    """The destination holds exactly the wanted files; or the names that arrived damaged and must be sent again."""
    own_directory(args["staging"], 0o700)
    good = in_place(args)
    staged = [wanted for wanted in args["files"] if wanted["path"] not in good]
    bad = [wanted["path"] for wanted in staged if not arrived(args, wanted)]
    if bad:
        return {"bad": bad}
    install(args, [wanted["path"] for wanted in staged])
    files, record = [], read_record(args["destination"])
    for wanted in args["files"]:
        path, known = inside(args["destination"], wanted["path"]), record.get(wanted["path"], {})
        if given_up(path, known):
            files.append(known)
        else:
            files.append(entry(path, wanted["path"], {"stamp": stamp(os.lstat(path)), "sha256": wanted["sha256"]}))
    write_record(args["destination"], files, args["links"])
    for kept in ("", ".json", ".fetched.json"):
        remove_tree(partial(args) + kept)
    return {"changed": True, "bad": []}


def arrived(args: Json, wanted: Json) -> bool:
    """True when the staged file is whole and verified. An empty file has no piece and is made here."""
    path = inside(partial(args), wanted["path"])
    if wanted["size"] == 0 and not os.path.lexists(path):
        own_directory(os.path.dirname(path), 0o755)
        append(path, 0, b"")
    return os.path.lexists(path) and verify(args, wanted, False)


def install(args: Json, staged: list[str]) -> None:
    """Move what was collected into place: the whole directory at once, or the repaired files one by one."""
    destination, source = args["destination"], partial(args)
    parent = os.path.dirname(destination)
    own_directory(parent, 0o700 if parent == args["staging"] else 0o755)
    if not os.path.lexists(destination):
        own_directory(source, 0o755)
        make_links(source, args["links"])
        sync_folders(source)
        os.rename(source, destination)
    else:
        names = {wanted["path"] for wanted in args["files"]}
        for name in [name for name in regular_files(destination) if name not in names]:
            os.unlink(inside(destination, name))
        for name in staged:
            target = inside(destination, name)
            own_directory(os.path.dirname(target), 0o755)
            os.rename(inside(source, name), target)
        make_links(destination, args["links"])
        sync_folders(destination)
    fsync_directory(os.path.dirname(destination))


def make_links(root: str, links: list[Json]) -> None:
    """`root` holds exactly these symbolic links."""
    wanted = {line["path"]: line["target"] for line in links}
    for name in [name for name in symbolic_links(root) if name not in wanted]:
        os.unlink(os.path.join(root, name))
    for name, target in wanted.items():
        path = inside(root, name)
        own_directory(os.path.dirname(path), 0o755)
        link_atomic(target, path)


def sync_folders(root: str) -> None:
    """The names below `root` survive a power cut; folders are world-readable."""
    for folder, _folders, _names in os.walk(root, topdown=False):
        os.chmod(folder, 0o755)  # noqa: S103 - the service's user reads it
        fsync_directory(folder)


if __name__ == "__main__":
    serve(globals(), {"survey": survey, "store": store, "finish": finish})
