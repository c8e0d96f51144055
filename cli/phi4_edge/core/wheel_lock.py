"""What a lock file allows: which wheels, in which versions, with which hashes. Pure: callers read the files.

The lock of this installation decides, never what lies beside the wheels: a folder of wheels that somebody else filled
holds exactly one wheel for each line of the lock, or it is refused before anything of it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from phi4_edge.errors import ArtifactError

REQUIREMENTS = "requirements.txt"
# What pip writes into a lock with hashes: one requirement, continued over the lines of its hashes.
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)((?:\s+--hash=sha256:[0-9a-f]{64})+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PART = r"[A-Za-z0-9_.+!]+"
_WHEEL = re.compile(
    rf"(?P<name>{_PART})-(?P<version>{_PART})(?:-[0-9][A-Za-z0-9_.]*)?-(?P<python>{_PART})-(?P<abi>{_PART})-(?P<platform>{_PART})\.whl"
)


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock: a project's normalized name, its version, and the SHA-256 of each file that it may be."""

    name: str
    version: str
    hashes: frozenset[str]


def read(text: str) -> tuple[Locked, ...]:
    """The lines of the lock `text`. Raises ValueError for anything that is not name, version and hashes."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    found = []
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise ValueError(f"the lock has a line that is not a requirement with hashes: {line.strip()[:80]!r}")
        found.append(Locked(normalized(match[1]), match[2], frozenset(_HASH.findall(match[3]))))
    if not found or len({one.name for one in found}) != len(found):
        raise ValueError("the lock names nothing, or a project twice")
    return tuple(found)


def normalized(name: str) -> str:
    """The one spelling of a project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def file_name(python: str) -> str:
    """Name of the lock for `python`, such as cp313.txt for "3.13". Raises ArtifactError for what is no version."""
    if not re.fullmatch(r"3\.[0-9]{1,2}", python):
        raise ArtifactError(f"found the Python version {python[:40]!r}, needed one such as 3.13: run the command again")
    return f"cp{python.replace('.', '')}.txt"


def require(lock: str, architecture: str, files: Mapping[str, str], name: str) -> None:
    """Raise ArtifactError unless `files` are what `lock` wants; `name` is what they are called. As `problems`."""
    try:
        found = problems(lock, architecture, files)
    except ValueError as error:
        found = (str(error),)
    if found:
        raise ArtifactError(
            f"{name} on the controller: found {'; '.join(found[:5])}: it is not what this installation has locked; no "
            "host was changed. Run: phi4-edge provision, which makes it again"
        )


def problems(lock: str, architecture: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with a wheelhouse of `files` (path → SHA-256, its manifest.json aside); empty when it is as locked.

    `architecture` is uname's name of the machine that the wheels are for. Raises ValueError for a text that is no lock.
    """
    wanted = {one.name: one for one in read(lock)}
    found, seen = list[str](), dict[str, str]()
    for path in sorted(files):
        if path == REQUIREMENTS:
            continue
        why = _wheel_problem(path, files[path], architecture, wanted)
        name = normalized(path.partition("-")[0])
        if not why and name in seen:
            why = f"{seen[name]} is another wheel of the same project"
        seen.setdefault(name, path)
        if why:
            found.append(f"{path[:120]}: {why}")
    found += [
        f"no wheel of {name} {one.version}, which the lock names" for name, one in wanted.items() if name not in seen
    ]
    if files.get(REQUIREMENTS) != hashlib.sha256(lock.encode()).hexdigest():
        found.append(f"{REQUIREMENTS}: is not the lock of this installation")
    return tuple(found)


def _wheel_problem(path: str, sha256: str, architecture: str, wanted: Mapping[str, Locked]) -> str:
    """Why the file `path` is none of the lock's wheels; empty when it is one."""
    match = _WHEEL.fullmatch(path)
    if not match:
        return "is not a wheel"
    locked = wanted.get(normalized(match["name"]))
    if locked is None:
        return "the lock does not name this project"
    if match["version"] != locked.version:
        return f"has version {match['version']}, the lock {locked.version}"
    if sha256 not in locked.hashes:
        return "its hash is not in the lock"
    platform = match["platform"]
    if platform != "any" and not all(tag.endswith(f"_{architecture}") for tag in platform.split(".")):
        return f"is not for {architecture}"
    return ""
