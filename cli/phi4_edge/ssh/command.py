"""The arguments with which Ansible's ssh connection plugin calls ssh for a host, and what ssh makes of them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from pathlib import Path

from phi4_edge.core.inventory import Host
from phi4_edge.core.text import printable
from phi4_edge.environment import Need, allowed

ASK_SECONDS = 10.0  # `Match exec` and canonical names make ssh start programs and ask name servers
_MOST_TEXT = 64 * 1024


def arguments(host: Host) -> list[str]:
    """The arguments in the order of ansible.plugins.connection.ssh: of most options the first value counts for ssh.

    No secrets in them. Raises ValueError for unbalanced quotes.
    """
    ssh = host.ssh
    words = ["-o", f"ProxyJump={ssh.jump}"] if ssh.jump else []
    words += shlex.split(ssh.ssh_args)
    # Only where the inventory says so of this very host. A key that has changed is refused all the same.
    words += [] if ssh.host_key_checking else ["-o", "StrictHostKeyChecking=no"]
    words += ["-o", f"Port={host.port}"] if host.port else []
    if ssh.private_key_file:
        words += ["-o", f'IdentityFile="{Path(ssh.private_key_file).expanduser()}"']
    words += ["-o", f'User="{host.user}"'] if host.user else []
    words += ["-o", f"ConnectTimeout={ssh.timeout}"] if ssh.timeout else []
    return words + shlex.split(ssh.common_args) + shlex.split(ssh.extra_args)


def asked(host: Host) -> dict[str, list[str]]:
    """What `ssh -G` says of this host: option (lower case) → values, each as OpenSSH prints it.

    Raises ValueError where it says nothing, with the reason.
    """
    command = [host.ssh.executable, "-G", *arguments(host), *_shared(host), "--", host.address]
    found: dict[str, list[str]] = {}
    for line in _said(command).splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value.strip())
    if "hostname" not in found:
        raise ValueError(f"{host.ssh.executable} -G names no host")
    return found


def _shared(host: Host) -> list[str]:
    """The socket of the connection that the tasks of a run share: of the run itself, unless another one is named."""
    said = " ".join([host.ssh.ssh_args, host.ssh.common_args, host.ssh.extra_args]).lower()
    kept = not host.ssh.ssh_args or "controlpersist" in said  # without ssh_args our runs bring theirs, which keep it
    if not kept or "controlpath" in said:
        return []
    path = host.ssh.control_path
    return ["-o", f'ControlPath="{path}"' if path and "%(directory)s" not in path else "ControlPath=none"]


def _said(command: list[str]) -> str:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # there is no terminal to ask on
            env={**allowed(os.environ, Need.SSH), "LC_ALL": "C"},
        )
    except OSError as error:
        raise ValueError(f"no {command[0]} to run: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{command[0]} -G takes longer than {ASK_SECONDS:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if process.returncode:
        why = errors.decode("utf-8", "replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise ValueError(printable(why[0], 300, lines=False))
    return output[:_MOST_TEXT].decode("utf-8", "replace")
