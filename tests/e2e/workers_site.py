"""Lab hosts as workers: this checkout's wheel, installed there from files, and the way of ssh to them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from phi4_edge import lab as lab_room
from phi4_edge.lab import ssh
from phi4_edge.runner.workers.link import SSH_ARGS
from tests.e2e.gateway import ROOT, Gateway

_PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux_2_5", "manylinux2014")
_HOME = "/opt/worker"


def wheels(folder: Path, python: str) -> Path:
    """`folder` with our wheel and all that it needs, for `python` ("3.13") on this machine's architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    platforms = [f"--platform={name}_{os.uname().machine}" for name in _PLATFORMS]
    locked = ["--require-hashes", "-r", ROOT / "requirements" / "runtime.lock", "--no-deps", "--only-binary=:all:"]
    subprocess.run(
        [*pip, "download", "--dest", folder, *locked, "--implementation=cp", f"--python-version={python}", *platforms],
        check=True,
    )
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    return folder


def install(lab: lab_room.Lab, name: str, folder: Path) -> Gateway:
    """The lab host `name` is a worker: phi4-edge is on its PATH, and nothing came from a network."""
    host = Gateway(lab, name)
    send(lab, name, folder, "/var/tmp/wheels")
    host.sh(
        f"python3 -m venv {_HOME} && {_HOME}/bin/pip install --quiet --no-index --find-links /var/tmp/wheels phi4-edge"
        f" && ln -sf {_HOME}/bin/phi4-edge /usr/local/bin/phi4-edge && rm -r /var/tmp/wheels"
    )
    return host


def send(lab: lab_room.Lab, name: str, folder: Path, target: str) -> None:
    """The files of `folder` are in `target` on the host."""
    argv = lab_room.ssh_command(lab, lab.host(name), ["sudo", "sh", "-c", f"mkdir -p {target} && tar -x -C {target}"])
    with subprocess.Popen(["tar", "-c", "-C", str(folder), "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(argv, stdin=tar.stdout, check=True)


def ssh_args(lab: lab_room.Lab) -> dict[str, str]:
    """What makes ssh reach the lab's hosts as workers."""
    return {SSH_ARGS: shlex.join(["-F", "none", "-i", str(lab.key), *ssh.ssh_options(lab.known_hosts)])}


def target(lab: lab_room.Lab, name: str) -> str:
    """The host as an argument of --worker."""
    return f"{ssh.USER}@{lab.host(name).address}"
