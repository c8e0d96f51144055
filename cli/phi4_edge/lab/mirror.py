"""What vendors publish, served from inside a lab: files with Range, and an image registry."""

from __future__ import annotations

import http.client
import os
import shutil
import stat
import time
from pathlib import Path, PurePosixPath

from phi4_edge.errors import LabError
from phi4_edge.lab import mirror_push
from phi4_edge.lab.model import FILES_PORT, REGISTRY_PORT, Lab, LabHost

_PAUSE = 0.25  # seconds between two looks at a service that is starting
_ATTEMPT = 3  # seconds for one answer


def url(lab: Lab, name: str | None = None) -> str:
    """Base address of the files. By default with the mirror's address, which works here and in the lab's hosts.

    `name` is what to call it instead: hosts of the lab also know it as `mirror`. Raises LabError without a mirror.
    """
    return f"http://{name or _mirror(lab).address}:{FILES_PORT}"


def registry(lab: Lab, name: str | None = None) -> str:
    """`host:port` of the image registry; plain HTTP, and the Docker engines of the lab know that. `name` as in url."""
    return f"{name or _mirror(lab).address}:{REGISTRY_PORT}"


def publish(lab: Lab, source: Path, path: str = "/") -> str:
    """`source`, a directory or a file, is served at `path` of the mirror; returns its address.

    A file that is there is replaced, a directory filled up. Raises LabError without a mirror, or for a `path` that
    leads out of it.
    """
    _mirror(lab)
    parts = PurePosixPath(path.strip("/") or ".").parts
    if ".." in parts:
        raise LabError(f"cannot publish at {path!r}: needed a path below the mirror's root, like /docker")
    target = lab.published.joinpath(*parts)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.new")
        shutil.copyfile(source, beside)
        beside.replace(target)
    _readable(lab.published)
    return "/".join([url(lab), *parts])


def push(lab: Lab, layout: Path, repository: str, tag: str) -> str:
    """An image of the artifact store (`images/<digest>`) is in the registry as `repository:tag`; returns its digest."""
    return mirror_push.push(registry(lab), layout, repository, tag)


def _readable(top: Path) -> None:
    """Another user, in the mirror, may read all of it."""
    for folder, _, names in os.walk(top):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o444)


def wait(lab: Lab, deadline: float) -> None:
    """Both services answer afterwards. Raises LabError when `deadline` (monotonic seconds) passes before."""
    machine = _mirror(lab)
    for port, path in ((FILES_PORT, "/"), (REGISTRY_PORT, "/v2/")):
        problem = "it was not asked"
        while problem and time.monotonic() < deadline:
            problem = _problem(machine.address, port, path)
            if problem:
                time.sleep(_PAUSE)
        if problem:
            raise LabError(f"{machine.name} does not answer at {machine.address}:{port}: {problem}")


def _problem(address: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=_ATTEMPT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == http.HTTPStatus.OK else f"HTTP {status}"


def _mirror(lab: Lab) -> LabHost:
    if lab.mirror is None:
        raise LabError(f"lab {lab.name!r} has no mirror: make one with `phi4-edge lab up --mirror`")
    return lab.mirror
