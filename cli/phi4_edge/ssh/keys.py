"""Which keys ssh would offer: those of the agent, then those in files."""

from __future__ import annotations

import base64
import binascii
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from phi4_edge.environment import Need, allowed
from phi4_edge.ssh.target import Target

if TYPE_CHECKING:
    from paramiko import PKey

TICKET_SECONDS = 5.0


@dataclass
class Offer:
    """Keys to try in order, and why others cannot be."""

    keys: list[PKey] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)


def offer(target: Target) -> Offer:
    """The keys for a host. A file that is missing is only worth a word where the operator named it."""
    found = Offer()
    agent = list(_agent_keys())
    wanted = {blob for path in target.key_files if (blob := _public(path)) is not None}
    first = [key for key in agent if key.asbytes() in wanted]
    found.keys += first if target.identities_only else first + [key for key in agent if key not in first]
    held = {key.asbytes() for key in found.keys}
    for path in target.key_files:
        _add_file(path, held, found)
    return found


def has_ticket() -> bool:
    """Whether this user has a Kerberos ticket that is valid now."""
    try:
        done = subprocess.run(
            ["klist", "-s"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TICKET_SECONDS,
            check=False,
            env=allowed(os.environ, Need.SSH),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _agent_keys() -> Iterator[PKey]:
    from paramiko import Agent
    from paramiko.ssh_exception import SSHException

    try:
        agent = Agent()
        yield from agent.get_keys()
    except (SSHException, OSError):
        return  # no agent, or one that does not answer: ssh goes on with the files too


def _public(path: Path) -> bytes | None:
    """The public half beside a private key file, which tells an encrypted key from others in the agent."""
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        return base64.b64decode(public.read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, UnicodeDecodeError, binascii.Error):
        return None


def _add_file(path: Path, held: set[bytes], found: Offer) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko import PKey
    from paramiko.ssh_exception import PasswordRequiredException, SSHException

    blob = _public(path)
    if blob in held or path.suffix == ".pub":
        return
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            found.refused.append(f"{path} may be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
            return
        key = PKey.from_path(path)
    except FileNotFoundError:
        found.refused.append(f"{path} does not exist")
    except (PasswordRequiredException, TypeError):
        found.refused.append(f"{path} is encrypted and the agent does not hold it: ssh-add {path}")
    except (UnsupportedAlgorithm, SSHException, ValueError) as error:
        found.unsupported.append(f"{path}: {error}")
    except OSError as error:
        found.refused.append(f"{path} cannot be read ({error.strerror})")
    else:
        found.keys.append(key)
