"""The Docker engine under the lab: connecting to it, and finding what belongs to a lab."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phi4_edge.errors import LabError
from phi4_edge.lab.model import LABEL

if TYPE_CHECKING:
    from docker import DockerClient

AT_A_TIME = 8
_HOW_TO = (
    "The lab runs its hosts on a local Docker engine: install one with `apt-get install docker.io` (Debian, Ubuntu) or "
    "from https://docs.docker.com/engine/install/, start it with `systemctl start docker`, and be root or in the group "
    "`docker` (log in again after joining, or use `sg docker -c`). In a checkout, `make setup` installs and starts all "
    "that the lab needs; it uses sudo when you are not root."
)


@contextmanager
def connect() -> Iterator[DockerClient]:
    """A client for the engine that DOCKER_HOST or the default socket names, closed at the end of the block.

    Raises LabError when no engine answers there, it is on another machine, or (inside the block) it refuses a request.
    """
    from docker import DockerClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    if platform.system() != "Linux":
        raise LabError(
            f"this is {platform.system()}: hosts of the lab are reached by their bridge address, on Linux only"
        )
    client = None
    try:
        # Unpacking an image of several hundred MB is one request; a slow disk takes minutes for it.
        client = DockerClient.from_env(timeout=600)
        client.ping()
    except (DockerException, RequestException) as error:
        if client is not None:
            client.close()
        raise LabError(f"no Docker engine answers: {error}. {_HOW_TO}") from error
    try:
        if client.api.base_url != "http+docker://localhost":  # how the SDK calls a Unix socket
            raise LabError(
                f"the Docker engine at {client.api.base_url} is not on this machine, but the lab needs one that is"
            )
        yield client
    except (DockerException, RequestException) as error:
        raise LabError(f"the Docker engine refused: {error}") from error
    finally:
        client.close()


def lab_names(client: DockerClient) -> set[str]:
    """Names of all labs of which the engine holds anything."""
    containers = client.containers.list(all=True, ignore_removed=True, filters={"label": LABEL})
    names = {container.labels[LABEL] for container in containers}
    names |= {volume.attrs["Labels"][LABEL] for volume in client.volumes.list(filters={"label": LABEL})}
    names |= {network.attrs["Labels"][LABEL] for network in client.networks.list(filters={"label": LABEL})}
    return names


def remove_objects(client: DockerClient, lab: str) -> int:
    """Remove every container, volume and network of `lab`; returns how many there were. Nothing there is no error."""
    label = f"{LABEL}={lab}"
    containers = client.containers.list(all=True, ignore_removed=True, filters={"label": label})
    with ThreadPoolExecutor(AT_A_TIME) as pool:  # each waits some seconds for what runs in it
        list(pool.map(lambda container: container.remove(force=True, v=True), containers))
    volumes = client.volumes.list(filters={"label": label})
    for volume in volumes:
        volume.remove(force=True)
    networks = client.networks.list(filters={"label": label})
    for network in networks:
        network.remove()
    return len(containers) + len(volumes) + len(networks)
