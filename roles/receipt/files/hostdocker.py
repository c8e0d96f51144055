"""What is ours in Docker on a host: containers, networks and volumes of our Compose projects, and images.

Everything goes through the `docker` command. Sent in front of the script that uses it; Python 3.8 or newer, standard
library only.
"""

from __future__ import annotations

import glob
import json
import os
import re

from hostlib import HostError, Json, read_bytes
from hostrun import command

IMAGE = re.compile(r"^\s+image:\s*['\"]?(sha256:[0-9a-f]{64})['\"]?\s*$", re.MULTILINE)
# Containers that stop slowly, on a slow disk.
SECONDS = 120.0


def docker(*argv: str) -> tuple[int, str]:
    """Exit status and output of a docker command; 127 where there is no Docker."""
    return command("docker", *argv, timeout=SECONDS)


def listed(kind: str, project: str) -> list[str]:
    """Ids of what a Compose project has of a kind: container, network or volume. Raises HostError when nobody knows."""
    label = f"label=com.docker.compose.project={project}"
    every = ["--all"] if kind == "container" else []
    status, output = docker(kind, "ls", *every, "--quiet", "--filter", label)
    if status == 127:
        return []
    if status:
        raise HostError(f"found no answer from Docker, needed its list of {kind}s: {output[-500:]}")
    return output.split()


def down(project: str, volumes: bool = False) -> list[str]:
    """Nothing of a Compose project is left, volumes aside unless they are asked for; what is gone, by kind and id.

    Works without the project's file. Raises HostError for what does not go.
    """
    gone = []
    for kind, remove in (("container", ("rm", "--force", "--volumes")), ("network", ("rm",)), ("volume", ("rm",))):
        if kind == "volume" and not volumes:
            continue
        for name in listed(kind, project):
            status, output = docker(kind, *remove, name)
            if status and name in listed(kind, project):
                raise HostError(f"docker {kind} rm {name} failed: {output[-500:]}")
            gone.append(f"{kind} {name}")
    return gone


def inspect(project: str) -> list[Json]:
    """What Docker says about each container of a Compose project; none where Docker does not answer."""
    label = f"label=com.docker.compose.project={project}"
    status, output = docker("container", "ls", "--all", "--quiet", "--filter", label)
    if status or not output.split():
        return []
    status, output = whole("container", "inspect", *output.split())
    found = json.loads(output) if status == 0 else []
    return [item for item in found if isinstance(item, dict)]


def whole(*argv: str) -> tuple[int, str]:
    """Like `docker`, for an output that is longer than a message may be."""
    return command("docker", *argv, timeout=SECONDS, limit=1 << 20)


def named(release: str) -> set[str]:
    """Ids of the images that the compose files of a release directory name."""
    found: set[str] = set()
    for path in glob.glob(os.path.join(glob.escape(release), "*.yml")):
        found |= set(IMAGE.findall((read_bytes(path, 1 << 20) or b"").decode("utf-8", "replace")))
    return found


def remove_images(images: set[str]) -> list[str]:
    """Those images are gone, but for one that somebody else uses or has named too; what is gone."""
    gone = []
    for image in sorted(images):
        if docker("image", "inspect", "--format", "{{.Id}}", image)[0]:
            continue
        # Never with --force: what somebody else runs or has given a second name is not ours alone.
        docker("image", "rm", image)
        if docker("image", "inspect", "--format", "{{.Id}}", image)[0]:
            gone.append(f"image {image}")
    return gone


def wanted(folder: str) -> bool:
    """True when a release below `folder` runs in containers, so that Docker has to be asked what is left of them."""
    return bool(glob.glob(os.path.join(glob.escape(folder), "releases", "*", "*.yml")))
