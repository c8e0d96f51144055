"""From a started container to a host that answers SSH."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from phi4_edge.environment import Need, allowed
from phi4_edge.errors import LabError
from phi4_edge.lab import ssh
from phi4_edge.lab.model import Lab, LabHost

if TYPE_CHECKING:
    from docker import DockerClient

_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
_PAUSE = 0.25  # seconds between two looks at a host that is booting
_ATTEMPT = 10  # seconds for one SSH handshake
_LOG_LINES = 40


def wait(client: DockerClient, lab: Lab, deadline: float, progress: Callable[[str], None]) -> None:
    """Return once every host accepts the lab's key and systemd has finished booting; writes the lab's known_hosts.

    Host keys come through the Docker API, so nobody on the network can put another one in their place. Raises LabError
    with the log of the host that did not come up before `deadline` (monotonic seconds).
    """
    keys = {host.address: _host_key(client, host, deadline) for host in lab.machines}
    lab.known_hosts.write_text(ssh.known_hosts(keys), encoding="utf-8")
    for host in lab.machines:  # one after the other is enough: they boot at the same time
        state = boot_state(lab, host, deadline)
        if state is None:
            raise LabError(f"{host.name} did not answer SSH at {host.address}.\n{log(client, host)}")
        progress(f"{host.name}: answers SSH at {host.address}" + ("" if state == "running" else f", systemd: {state}"))


def _host_key(client: DockerClient, host: LabHost, deadline: float) -> str:
    """The host's public key, as soon as its first boot has made it."""
    from docker.errors import NotFound

    container = client.containers.get(host.container)
    while time.monotonic() < deadline:
        try:
            chunks, _ = container.get_archive(_HOST_KEY)
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                member = tar.extractfile(tar.getmembers()[0])
                text = member.read().decode("ascii") if member else ""
            if text.endswith("\n"):  # else it is being written at this moment
                return text.strip()
        except NotFound:
            container.reload()
            if container.status == "exited":
                break
        time.sleep(_PAUSE)
    raise LabError(f"{host.name} did not boot ({container.status}).\n{log(client, host)}")


def boot_state(lab: Lab, host: LabHost, deadline: float) -> str | None:
    """systemd's word for the host's state once it has booted, asked over SSH; None when `deadline` passes before."""
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_ATTEMPT}"]
    command = ssh.ssh_command(lab, host, ["systemctl", "is-system-running", "--wait"], options)
    while (left := deadline - time.monotonic()) > 0:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=left,
                env=allowed(os.environ, Need.SSH),
            )
        except subprocess.TimeoutExpired:
            return None
        if done.stdout.strip() in ("running", "degraded"):
            return done.stdout.strip()
        time.sleep(_PAUSE)
    return None


def log(client: DockerClient, host: LabHost) -> str:
    """The last lines that the host printed while it booted, for a message."""
    text = client.containers.get(host.container).logs(tail=_LOG_LINES).decode("utf-8", errors="replace")
    return f"The last {_LOG_LINES} lines of its console:\n{text.strip()}"
