"""What a release is made of, as digests of what really lies on this host, held to what was signed for it.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Dict, List, Tuple

import hosttrust
from hostlib import (
    Json,
    damaged,
    inside,
    link_target,
    read_bytes,
    read_json,
    read_record,
    recorded_links,
    regular_files,
    symbolic_links,
)
from hostsign import RefusedError
from hoststatement import Statement

# Kind of name in a statement, digest, and what it is for people.
Part = Tuple[str, str, str]
IMAGE_LINE = re.compile(r"^[ \t-]*['\"]?(?:image|build)['\"]?[ \t]*:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
# Anywhere else, or another file that would be taken in: then nobody knows what is run.
IMAGE_WORD = re.compile(r"\b(?:image|build|include|extends)['\"]?[ \t\r\n]*:")
IMAGE_ID = re.compile(r"['\"]?(sha256:[0-9a-f]{64})['\"]?")
TEXT_MOST = 1 << 20
# Ollama's stores: a GGUF file begins so; whatever else is large is no template and no parameter either.
GGUF, SMALL = b"GGUF", 1 << 20


def tree(path: str) -> str:
    """Digest of a pushed directory, as the controller names it. Raises RefusedError where it is not as recorded."""
    record = read_record(path)
    links = [(line["path"], line["target"]) for line in recorded_links(path)]
    bad = changed(path, record) + [name for name, target in links if link_target(inside(path, name)) != target]
    bad += sorted(set(symbolic_links(path)) - {name for name, _target in links})
    if bad:
        raise RefusedError(
            "not named", "%s is not what was delivered (%s): run the same command again" % (path, ", ".join(bad[:3]))
        )
    lines = ["%s  %s\n" % (line["sha256"], name) for name, line in record.items()]
    lines += ["%s  %s\n" % (line["mode"], name) for name, line in record.items() if line["mode"] != "0644"]
    lines += ["-> %s  %s\n" % (target, name) for name, target in links]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def changed(path: str, record: Dict[str, Json]) -> List[str]:
    """Names that are not as recorded, or not recorded."""
    if not record:
        return ["it has no record"]
    return damaged(path, record) + [name for name in regular_files(path) if name not in record]


def package(files: Dict[str, bytes]) -> str:
    """Digest of files that came in a payload, by name, as `tree` would give it."""
    lines = ["%s  %s\n" % (hashlib.sha256(data).hexdigest(), name) for name, data in files.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def linked(path: str, state: str, root: str) -> List[Part]:
    """What a directory that a release links to is made of."""
    parent, name = os.path.split(path)
    if parent == os.path.join(state, "models"):
        found = tree(path)
        if found != name:
            raise RefusedError("not named", "%s holds other content than its name says: %s" % (path, found))
        return [("artifacts", found, "the model in %s" % path)]
    if parent == os.path.join(root, "engines"):
        return engine(path)
    if parent == os.path.join(state, "stores"):
        return store(path)
    raise RefusedError("not named", "the release links to %s, which is no place of models, engines or stores" % path)


def engine(path: str) -> List[Part]:
    """What an engine is made of: a release archive, or wheels and our own package, of which its record tells."""
    document = read_json(path + ".json")
    made = document.get("made_of") if isinstance(document, dict) else None
    if not isinstance(made, dict):
        return [("artifacts", tree(path), "the engine in %s" % path)]
    bad = changed(path, read_record(path))
    if bad:
        raise RefusedError(
            "not named", "%s is not what was built (%s): run the same command again" % (path, ", ".join(bad[:3]))
        )
    return [
        ("wheelhouses", str(made.get("wheels")), "the wheels of the engine in %s" % path),
        ("code", str(made.get("code")), "our own package in %s" % path),
    ]


def store(path: str) -> List[Part]:
    """The weights in Ollama's own form of a model; what is small and no GGUF file are its texts."""
    record = read_record(path)
    bad = changed(path, record)
    if bad:
        raise RefusedError(
            "not named", "%s is not what was made (%s): run the same command again" % (path, ", ".join(bad[:3]))
        )
    parts = []
    for name, line in record.items():
        if line["size"] > SMALL or read_bytes(inside(path, name), 4) == GGUF:
            parts.append(("weights", str(line["sha256"]), "the weights %s in %s" % (name, path)))
    return parts


def texts(files: Dict[str, str], state: str, root: str) -> List[Part]:
    """What text files of a release name: images, directories that containers read, and programs."""
    parts: List[Part] = []
    places = re.compile(
        "(%s)/[^\\s\"':,]+" % "|".join(re.escape(os.path.join(state, kind)) for kind in ("models", "stores"))
    )
    for name, text in sorted(files.items()):
        if name.endswith(".py"):
            parts.append(("code", hashlib.sha256(text.encode()).hexdigest(), "the program %s" % name))
        if not name.endswith(".yml"):
            continue
        lines = IMAGE_LINE.findall(text)
        if len(lines) != len(IMAGE_WORD.findall(text)):
            raise RefusedError("not named", "%s names an image in another way than ours do" % name)
        for line in lines:
            match = IMAGE_ID.fullmatch(line)
            if not match:
                raise RefusedError("not named", "%s runs %.100r, needed an image by its id" % (name, line))
            parts.append(("images", match[1], "the image of %s" % name))
        for path in sorted({match[0] for match in places.finditer(text)}):
            parts += linked(os.path.normpath(path), state, root)
    return parts


def parts_of(release: str, state: str, root: str, more: Dict[str, str], links: Dict[str, str]) -> List[Part]:
    """What the release directory is made of, with the texts and links that it is about to get."""
    names = sorted(os.listdir(release)) if os.path.isdir(release) else []
    targets = {
        name: str(link_target(os.path.join(release, name)))
        for name in names
        if os.path.islink(os.path.join(release, name))
    }
    files = {}
    for name in names:
        if name.endswith((".yml", ".py")) and name not in targets:
            data = read_bytes(os.path.join(release, name), TEXT_MOST + 1) or b""
            files[name] = data.decode("utf-8", "replace")
            if len(data) > TEXT_MOST:
                raise RefusedError("not named", "%s of the release is larger than any of ours" % name)
    parts = texts(dict(files, **more), state, root)
    for _name, target in sorted(dict(targets, **links).items()):
        parts += linked(os.path.normpath(os.path.join(release, target)), state, root)
    return parts


def require(names: Dict[str, Any], parts: List[Part]) -> None:
    """Raises RefusedError unless the statement's names have every part."""
    for kind, digest, what in parts:
        found = names[kind]
        if kind == "images":
            known = {one for image in found.values() for one in image.values()}
        else:
            known = set(found if isinstance(found, list) else found.values())
        if digest not in known:
            raise RefusedError(
                "not named",
                "%s (%s) is not named in what was signed for this host, needed content that is. Nothing was switched; "
                "provision it from the newest signed bundle" % (what, digest),
            )


def guard(state: str, parts: Any) -> None:
    """Raises RefusedError where this host trusts keys and one of `parts()` is not in the statement that holds now."""
    trust = hosttrust.read(state)
    if trust["keys"]:
        found: Statement = hosttrust.current(trust)
        require(found.names, parts())


def guard_release(args: Json, release: str, more: Dict[str, str], links: Dict[str, str], stage: bool) -> None:
    """Raises RefusedError where this host trusts keys and the release is not made of what was signed.

    `stage`: what is admitted now is remembered. Without it a release is let through that was admitted before, as it
    was: that is how a host goes back to one that the newest statement no longer names.
    """
    state, root = str(args["state"]), str(args["root"])
    trust = hosttrust.read(state)
    if not trust["keys"] or args.get("check"):
        return
    parts = parts_of(release, state, root, more, links)
    lines = ["%s %s" % part[:2] for part in parts]
    name = os.path.basename(release)
    if not stage and trust["releases"].get(name) == hosttrust.fingerprint(lines):
        return
    require(hosttrust.current(trust).names, parts)
    if stage and trust["releases"].get(name) != hosttrust.fingerprint(lines):
        hosttrust.write(state, hosttrust.admitted(trust, name, lines))
