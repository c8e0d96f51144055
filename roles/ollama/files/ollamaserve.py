"""A server of Ollama for as long as a store is made: a transient unit or a container, alone with that store.

Its name is fixed, so that whatever an interrupted run left is found and ended. Sent in front of the script that uses
it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import List

from hostlib import HostError, Json, remove_tree
from hostrun import clean, command
from ollamaapi import Api

NAME = "phi4-edge-create"
UNIT = NAME + ".service"
# Where the store is seen from inside, whatever its name outside.
INSIDE = "/var/lib/phi4-edge-create"
TOPS = ("/opt", "/var/lib", "/srv", "/mnt", "/media")
START_SECONDS = 120.0
# A slow card copies 2.5 GB three times in this time. Afterwards systemd ends what an interrupted run left.
LONGEST_SECONDS = 5400
PORT_IN_IMAGE = 11434


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(args: Json) -> dict[str, str]:
    """The plan's settings, but for where it listens and what it may reach."""
    own = {"OLLAMA_MODELS": INSIDE, "OLLAMA_NOPRUNE": "1", "OLLAMA_NO_CLOUD": "1", "HOME": "/tmp"}  # noqa: S108 - its private one
    return {**args["environment"], **own}


def unit_properties(args: Json, folder: str) -> list[str]:
    """Closed in: it may write its store, read its own program, and talk to this host.

    CAP_FOWNER: a model that is linked instead of copied belongs to root, and Ollama sets the times of every blob.
    Nothing newer than systemd 245, which is JetPack 5's: systemd-run refuses what it does not know.
    """
    alone = [] if args["library"] else ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    return [
        "Type=exec", "DynamicUser=yes", "UMask=0022",
        "AmbientCapabilities=CAP_FOWNER", "CapabilityBoundingSet=CAP_FOWNER", "NoNewPrivileges=yes",
        "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
        "ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes",
        "ProtectClock=yes", "ProtectHostname=yes", "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes", "RestrictRealtime=yes", "LockPersonality=yes", "SystemCallArchitectures=native",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "TemporaryFileSystem=" + " ".join(top + ":ro" for top in hidden(os.path.dirname(args["staging"]))),
        f"BindReadOnlyPaths={args['engine']}", f"BindPaths={folder}:{INSIDE}",
        f"MemoryMax={args['memory_max']}", "OOMScoreAdjust=500", "TasksMax=256", "LimitCORE=0",
        f"RuntimeMaxSec={LONGEST_SECONDS}", "TimeoutStopSec=20", "SyslogIdentifier=" + NAME, *alone,
    ]  # fmt: skip


def hidden(state: str) -> List[str]:
    """What it sees an empty directory in place of: where programs and their data lie, and our own state."""
    return [*TOPS, *([] if any(state.startswith(top + "/") for top in TOPS) else [state])]


def unit_words(args: Json, folder: str, port: int) -> list[str]:
    """What systemd-run is told to start the release's own program."""
    variables = {**environment(args), "OLLAMA_HOST": f"127.0.0.1:{port}"}
    words = ["--property=" + line for line in unit_properties(args, folder)]
    words += [f"--setenv={name}={value}" for name, value in sorted(variables.items())]
    return [*words, "--", os.path.join(args["engine"], "bin", "ollama"), "serve"]


def container_words(args: Json, folder: str, port: int) -> list[str]:
    """What systemd-run is told to start a container, as root without any capability: the linked model is root's.

    The client stays in a unit, so that the container ends with it whatever becomes of the run that started it.
    """
    docker = shutil.which("docker") or "/usr/bin/docker"
    run = [
        docker, "run", "--rm", "--name", NAME, "--pull", "never", "--user", "0:0", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges:true", "--pids-limit", "256",
        "--tmpfs", "/tmp:mode=1777,size=64m",  # noqa: S108
        "--memory", str(args["memory_max"]), "--memory-swap", str(args["memory_max"]),
        "--publish", f"127.0.0.1:{port}:{PORT_IN_IMAGE}", "--volume", f"{folder}:{INSIDE}",
    ]  # fmt: skip
    variables = {**environment(args), "OLLAMA_HOST": f"0.0.0.0:{PORT_IN_IMAGE}"}
    for name, value in sorted(variables.items()):
        run += ["--env", f"{name}={value}"]
    own = [f"RuntimeMaxSec={LONGEST_SECONDS}", "TimeoutStopSec=20", "SyslogIdentifier=" + NAME]
    own.append(f"ExecStopPost=-{docker} rm --force --volumes {NAME}")
    return [*("--property=" + line for line in own), "--", *run, args["image"], "serve"]


def start(args: Json, folder: str) -> Api:
    """The server answers. Raises HostError with the end of its log when it does not."""
    api = Api(free_port())
    words = (container_words if args["image"] else unit_words)(args, folder, api.port)
    status, output = command("systemd-run", "--unit=" + NAME, "--collect", "--quiet", *words)
    if status:
        raise HostError(f"systemd did not start Ollama: exit status {status}: {output[-1000:]} {log()}")
    end = time.monotonic() + START_SECONDS
    while not api.version():
        if not running() or time.monotonic() > end:
            raise HostError(f"Ollama did not start to make its store; its log ends with: {log()}")
        time.sleep(0.2)
    return api


def running() -> bool:
    """True while the server has not ended."""
    return command("systemctl", "is-active", UNIT)[1] in ("active", "activating")


def log() -> str:
    """The end of what it wrote."""
    lines = ("journalctl", "--unit", UNIT, "--lines", "20", "--output", "cat", "--no-pager")
    return clean(command(*lines)[1], 1500)


def stop() -> None:
    """No such server runs, whoever started it. Raises HostError for one that stays."""
    if command("systemctl", "is-active", UNIT)[1] not in ("inactive", "unknown"):
        command("systemctl", "stop", UNIT)
        command("systemctl", "reset-failed", UNIT)  # fails for one that is gone
    status, found = command("docker", "ps", "--all", "--quiet", "--filter", f"name=^{NAME}$")
    if status == 0 and found:
        status, output = command("docker", "rm", "--force", "--volumes", NAME)
        if status and "No such container" not in output:
            raise HostError(f"docker rm {NAME} failed: {output[-500:]}")


def clear(*folders: str) -> None:
    """Nothing that an interrupted run left is there."""
    stop()
    for folder in folders:
        remove_tree(folder)
