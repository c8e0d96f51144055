"""Installs the engine's wheels: exactly those of the lock that the controller's installation sent with the request.

What lies in the wheelhouse is never asked what it should be, and nothing of it is run: a wheel is an archive of what
shall lie in site-packages (PEP 427), and the lock is complete, so that there is nothing for an installer to work out.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile

from hostlib import BLOCK, HostError, inside, own_directory, sha256_file
from hostrun import clean

REQUIREMENTS = "requirements.txt"
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][\w.!+-]*)((?:\s+--hash=sha256:[0-9a-f]{64})+)", re.ASCII)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
WHEEL = re.compile(r"([\w.]+)-([\w.!+]+)(?:-[0-9][\w.]*)?-[\w.]+-[\w.]+-[\w.]+\.whl", re.ASCII)
# What of `<name>.data/` lies in site-packages too. Its programs, headers and manuals are not needed here.
DATA = re.compile(r"[^/]+\.data/(?:(?:purelib|platlib)/(?P<inside>.+)|(?:scripts|headers|data)/.+)")
# An environment here is made once and never changed. The lock has it because without it every host would get a new
# release.
NOT_INSTALLED = frozenset({"pip"})


def install_wheels(packages: str, wheelhouse: str, lock: str) -> None:
    """What `lock` names lies in the directory `packages`, not yet durably; every hash was compared before."""
    found = locked_wheels(wheelhouse, lock)
    for project in sorted(set(found) - NOT_INSTALLED):
        unpack_wheel(found[project], packages)


def unpack_wheel(path: str, packages: str) -> None:
    """The content of one wheel lies where an installer would put it. Raises HostError for a damaged one."""
    made = set()
    try:
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                place = placed(name)
                if not place or name.endswith("/"):
                    continue
                target = inside(packages, place)
                folder = os.path.dirname(target)
                if folder not in made:
                    own_directory(folder, 0o755)
                    made.add(folder)
                with packed.open(name) as source, open(target, "xb") as stream:
                    shutil.copyfileobj(source, stream, BLOCK)
    except (zipfile.BadZipFile, FileExistsError) as error:
        raise HostError(f"{path} cannot be unpacked: {error}") from None


def placed(name: str) -> str:
    """Where a member of a wheel lies below site-packages; "" for one that has no place there."""
    match = DATA.fullmatch(name)
    return name if match is None else match.group("inside") or ""


def locked_wheels(wheelhouse: str, lock: str) -> dict[str, str]:
    """Path of the wheel of each project in `lock`. Raises HostError for any file that is not one of its wheels.

    The wheelhouse holds the wheels side by side, each a plain file whose version and SHA-256 are of the lock.
    """
    wanted = read_lock(lock)
    found: dict[str, str] = {}
    for name in sorted(os.listdir(wheelhouse)):
        if name == REQUIREMENTS:  # the controller's text counts, never this one
            continue
        path, match = os.path.join(wheelhouse, name), WHEEL.fullmatch(name)
        project = normalized(match.group(1)) if match else ""
        version, hashes = wanted.get(project, ("", []))
        if match is None or match.group(2) != version or project in found:
            raise refused(path, "the lock of the controller's installation names no such wheel")
        try:
            digest = sha256_file(path)
        except OSError:
            raise refused(path, "it is no plain file") from None
        if digest not in hashes:
            raise refused(path, f"its SHA-256 {digest[:12]}... is not in the lock of the controller's installation")
        found[project] = path
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise HostError(f"found no wheel of {', '.join(missing)} in {wheelhouse}: run the same command again")
    return found


def refused(path: str, why: str) -> HostError:
    """Nothing of the wheelhouse was run."""
    return HostError(
        f"refusing {clean(path, 300)}: {why}. Nothing of it was run. Make the wheels anew on the controller: phi4-edge "
        "provision, without --bundle or with one that you trust"
    )


def read_lock(text: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by project. Raises HostError for anything else, and where it names nothing."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        match = REQUIREMENT.fullmatch(line.strip())
        if match:
            found[normalized(match.group(1))] = (match.group(2), HASH.findall(match.group(3)))
        elif line.strip() and not line.startswith("#"):
            raise HostError(f"the lock has a line that is not a requirement with hashes: {clean(line, 80)}")
    if not found:
        raise HostError("the lock names no wheel: install phi4-edge again on the controller")
    return found


def normalized(name: str) -> str:
    """The one spelling of a project's name."""
    return re.sub(r"[-_.]+", "-", name).lower()
