"""What is ours in Docker on a host: containers and networks of our Compose projects, and images.

Everything goes through the `docker` command. Sent in front of the script that uses it; Python 3.8 or newer, standard
library only.
"""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Mapping

from hostlib import HostError, Json, read_bytes
from hostrun import command

IMAGE = re.compile(r"^\s+image:\s*['\"]?(sha256:[0-9a-f]{64})['\"]?\s*$", re.MULTILINE)
# One line of a list. The client also says there that it cannot read somebody's config.json, and succeeds all the same.
IDS = re.compile(r"^[0-9a-f]{12,64}$", re.MULTILINE)
# What the name of every image begins with that was brought by us; a test holds it to `phi4_edge.core.image_reference`.
OURS = "phi4-edge/"
FORMAT = "{{.ID}} {{.Repository}}:{{.Tag}}"
# What ours have beside the project's name: Compose calls a project after its folder, and a folder of somebody else may
# be called phi4-edge too. Our documents name no volume, so that none of a project is ours.
MARKS = {"container": "phi4-edge.release", "network": "com.docker.compose.network=engine"}
# Containers that stop slowly, on a slow disk.
SECONDS = 120.0


def docker(*argv: str) -> tuple[int, str]:
    """Exit status and output of a docker command; 127 where there is no Docker."""
    return command("docker", *argv, timeout=SECONDS)


def listed(kind: str, project: str) -> list[str]:
    """Ids of what is ours in a Compose project, container or network. Raises HostError when nobody knows."""
    labels = ["--filter", f"label=com.docker.compose.project={project}", "--filter", f"label={MARKS[kind]}"]
    every = ["--all"] if kind == "container" else []
    status, output = docker(kind, "ls", *every, "--quiet", *labels)
    if status == 127:
        return []
    if status:
        raise HostError(f"found no answer from Docker, needed its list of {kind}s: {output[-500:]}")
    return IDS.findall(output)


def down(project: str) -> list[str]:
    """Nothing of ours is left in a Compose project; what is gone, by kind and id.

    Works without the project's file. Raises HostError for what does not go.
    """
    gone = []
    for kind, remove in (("container", ("rm", "--force", "--volumes")), ("network", ("rm",))):
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
    if status or not IDS.findall(output):
        return []
    status, output = whole("container", "inspect", *IDS.findall(output))
    found = json.loads(output[output.find("[\n") :]) if status == 0 else []
    return [item for item in found if isinstance(item, dict)]


def whole(*argv: str) -> tuple[int, str]:
    """Like `docker`, for an output that is longer than a message may be."""
    return command("docker", *argv, timeout=SECONDS, limit=1 << 20)


def named(release: str) -> dict[str, str]:
    """Ids of the images that a release directory names, by service: its compose files are called after them."""
    found = {}
    for service, name in (("engine", "compose.yml"), ("webui", "webui.yml")):
        text = (read_bytes(os.path.join(release, name), 1 << 20) or b"").decode("utf-8", "replace")
        match = IMAGE.search(text)
        if match:
            found[service] = match[1]
    return found


def runs() -> bool:
    """True while Docker runs. Asking Docker itself would start it where its socket is systemd's."""
    return command("systemctl", "is-active", "--quiet", "docker.service")[0] == 0


def ours() -> list[tuple[str, str]]:
    """Id and name of every image that was brought here by us; none where Docker does not run, for it is not started."""
    if not runs():
        return []
    status, output = whole("image", "ls", "--no-trunc", "--filter", f"reference={OURS}*", "--format", FORMAT)
    lines = [line.split() for line in output.splitlines()] if status == 0 else []
    return [(words[0], words[1]) for words in lines if len(words) == 2 and words[1].startswith(OURS)]


def remove_images(keep: set[str]) -> list[str]:
    """No image of ours is left but those with these ids; what is gone.

    Only our own name is taken away, and never with --force: an image that has another name too, or that somebody else's
    container uses, stays.
    """
    gone = []
    for image, name in ours():
        if image not in keep and docker("image", "rm", name)[0] == 0:
            gone.append(f"image {name}")
    return gone


def lost(images: Mapping[str, str]) -> list[str]:
    """Those of the images (id by service) that Docker no longer has; none where it does not run and nobody knows."""
    return [image for image in images.values() if docker("image", "inspect", image)[0] == 1] if runs() else []


def wanted(folder: str) -> bool:
    """True when a release below `folder` runs in containers, so that Docker has to be asked what is left of them."""
    return bool(glob.glob(os.path.join(glob.escape(folder), "releases", "*", "*.yml")))
