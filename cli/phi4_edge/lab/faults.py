"""What happens to real gateways, on purpose: power cuts, hangs, full disks. For tests and for trying things out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phi4_edge.errors import LabError
from phi4_edge.lab import docker, ready
from phi4_edge.lab.model import Lab

if TYPE_CHECKING:
    from docker.models.containers import Container

_MARGIN = 64 * 1024  # bytes; a tmpfs counts whole pages and needs some for directories


@dataclass(frozen=True)
class Output:
    """What a command inside a host left: exit status, and stdout and stderr together."""

    returncode: int
    text: str


def execute(lab: Lab, host: str, command: Sequence[str]) -> Output:
    """Run a command as root inside a host through Docker, without SSH: works while SSH is what is being broken."""
    with docker.connect() as client:
        return _execute(client.containers.get(lab.host(host).container), command)


def _execute(container: Container, command: Sequence[str]) -> Output:
    done = container.exec_run(list(command))
    if done.exit_code is None or not isinstance(done.output, bytes):
        raise LabError(f"Docker lost the command {' '.join(command)} in {container.name}")
    return Output(done.exit_code, done.output.decode("utf-8", errors="replace"))


def power_off(lab: Lab, host: str) -> None:
    """Cut the host's power: everything in it stops at once, nothing is flushed or told. Its tmpfs are lost."""
    with docker.connect() as client:
        client.containers.get(lab.host(host).container).kill("SIGKILL")


def power_on(lab: Lab, host: str, timeout: float = 60) -> None:
    """Start a host again and return once it answers SSH at its old address. Raises LabError after `timeout` seconds."""
    chosen = lab.host(host)
    with docker.connect() as client:
        client.containers.get(chosen.container).start()
        if ready.boot_state(lab, chosen, time.monotonic() + timeout) is None:
            raise LabError(f"{host} did not come back within {timeout:.0f} s.\n{ready.log(client, chosen)}")


def hang(lab: Lab, host: str) -> None:
    """Freeze every process of the host: connections stay open and nothing answers."""
    with docker.connect() as client:
        client.containers.get(lab.host(host).container).pause()


def resume(lab: Lab, host: str) -> None:
    """Undo `hang`."""
    with docker.connect() as client:
        client.containers.get(lab.host(host).container).unpause()


def fill_disk(lab: Lab, host: str, path: str, leave: int = 0) -> None:
    """Leave about `leave` bytes free on a path that the host's profile put on a disk of its own.

    The file system is shrunk around its content, because filling a tmpfs would use up the host's RAM instead. Raises
    LabError for a path without a disk of its own.
    """
    _check_disk(lab, host, path)
    used = execute(lab, host, ["df", "--output=used", "--block-size=1", path])
    if used.returncode != 0:
        raise LabError(f"{host}: cannot measure {path}: {used.text.strip()}")
    _resize(lab, host, path, str(int(used.text.split()[1]) + leave + _MARGIN))


def free_disk(lab: Lab, host: str, path: str) -> None:
    """Undo `fill_disk`: the disk has the size of the profile again."""
    _resize(lab, host, path, _check_disk(lab, host, path))


def _check_disk(lab: Lab, host: str, path: str) -> str:
    disks = lab.host(host).disks
    if path not in disks:
        raise LabError(
            f"{host} has no disk of its own at {path} (it has: {', '.join(disks) or 'none'}): "
            "choose a profile with `disks`"
        )
    return disks[path]


def _resize(lab: Lab, host: str, path: str, size: str) -> None:
    done = execute(lab, host, ["mount", "-o", f"remount,size={size}", path])
    if done.returncode != 0:
        raise LabError(f"{host}: cannot resize {path}: {done.text.strip()}")
