"""What is put into a host of the lab before it boots for the first time, beyond its image. Pure."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from phi4_edge.lab import fake_gpu
from phi4_edge.lab.model import MIRROR, REGISTRY_PORT, Lab, LabHost

USERS = ("gateway", "nosudo")

Files = Mapping[str, tuple[bytes, int]]  # path below / → content and mode


def files(lab: Lab, host: LabHost, public_key: bytes) -> dict[str, tuple[bytes, int]]:
    """All of it for one host: the lab's key for each account, and what its mirror and its simulated GPU need."""
    found = {f"etc/ssh/authorized_keys/{user}": (public_key, 0o644) for user in USERS}
    if lab.mirror and host != lab.mirror:
        found["etc/docker/daemon.json"] = (_daemon(lab.mirror).encode(), 0o644)
    if host.fake_gpu:
        found |= fake_gpu.load(host.fake_gpu).host_files()
    return found


def _daemon(mirror: LabHost) -> str:
    """A Docker engine of the lab may talk to the mirror's registry, which has no certificate, under both its names."""
    names = [f"{name}:{REGISTRY_PORT}" for name in (MIRROR, mirror.address)]
    return json.dumps({"insecure-registries": names}, indent=2) + "\n"


def archive(contents: Files) -> bytes:
    """A tar for / with these files and every directory above them, all owned by root.

    The Docker engine would make a directory that is not in it writable for everybody.
    """
    folders = {parent for path in contents for parent in PurePosixPath(path).parents} - {PurePosixPath()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted(map(str, folders)):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for path, (content, mode) in contents.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
