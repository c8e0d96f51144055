"""Where and how ssh would connect for a host: its inventory variables first, then the operator's ssh configuration."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.core.inventory import Host

# OpenSSH's own defaults, in its order of trying (ssh_config(5), IdentityFile; the security-key kinds need a touch).
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
USER_KNOWN = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_LETTERS = {"i": "identityfile", "p": "port", "l": "user", "J": "proxyjump", "F": "configfile"}


@dataclass(frozen=True)
class Target:
    """`indirect` names what stands between us and the host (a jump host or proxy command); empty for a direct way."""

    address: str
    port: int
    user: str
    key_files: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    key_alias: str
    strict: str
    identities_only: bool
    indirect: str


def options(arguments: str) -> dict[str, list[str]]:
    """ssh arguments as option name (lower case) → values in order, of which the first wins (IdentityFile: all count).

    Raises ValueError for unbalanced quotes.
    """
    found: dict[str, list[str]] = {}
    words = iter(shlex.split(arguments))
    for word in words:
        if not word.startswith("-") or len(word) < 2:
            continue
        letter, rest = word[1], word[2:]
        if letter == "o":
            name, value = _pair(rest or next(words, ""))
            found.setdefault(name, []).append(value)
        elif letter in _LETTERS:
            found.setdefault(_LETTERS[letter], []).append(rest or next(words, ""))
        elif letter in "BbcDEeILmOQRSWw" and not rest:
            next(words, None)  # an option with a value that does not matter here
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.strip().replace("=", " ", 1).partition(" ")
    return name.lower(), value.strip().strip('"')


def resolve(host: Host, home: Path | None = None, system_config: Path = SYSTEM_CONFIG) -> Target:
    """Where ssh would go for this host. Raises ValueError for arguments or a configuration that cannot be read."""
    home = home or Path.home()
    said = options(" ".join([host.ssh.ssh_args, host.ssh.common_args, host.ssh.extra_args]))
    config = _config(host.address, said.get("configfile", [""])[0], home, system_config)

    def option(name: str, default: str = "") -> str:
        return (said.get(name) or config.get(name) or [default])[0]

    address = option("hostname", host.address).replace("%h", host.address)
    jump = next((option(name) for name in ("proxyjump", "proxycommand") if option(name) not in ("", "none")), "")
    files = [host.ssh.private_key_file] if host.ssh.private_key_file else []
    files += said.get("identityfile", []) + config.get("identityfile", [])
    known = " ".join([option("userknownhostsfile", USER_KNOWN), option("globalknownhostsfile", GLOBAL_KNOWN)])
    return Target(
        address=address,
        port=host.port or int(option("port", "22")),
        user=host.user or option("user") or getpass.getuser(),
        key_files=_paths(files or DEFAULT_KEYS, home, address),
        known_hosts=_paths([word for word in shlex.split(known) if word.lower() != "none"], home, address),
        key_alias=option("hostkeyalias"),
        strict=option("stricthostkeychecking", "ask").lower(),
        identities_only=option("identitiesonly", "no").lower() == "yes",
        indirect=jump,
    )


def _paths(names: Sequence[str], home: Path, address: str) -> tuple[Path, ...]:
    expanded = (name.replace("%d", str(home)).replace("%h", address) for name in names)
    paths = (home / name[2:] if name.startswith("~/") else Path(name).expanduser() for name in expanded)
    return tuple(dict.fromkeys(paths))


def _config(alias: str, named: str, home: Path, system_config: Path) -> Mapping[str, list[str]]:
    """What the ssh configuration says for this name: the operator's file first, the system's where that is silent."""
    from paramiko.config import SSHConfig
    from paramiko.ssh_exception import SSHException

    files = [Path(named).expanduser()] if named else [home / ".ssh" / "config", system_config]
    if named.lower() == "none":
        return {}
    merged: dict[str, list[str]] = {}
    for path in files:
        if not path.is_file():
            continue
        try:
            found: Mapping[str, str | list[str]] = SSHConfig.from_path(str(path)).lookup(alias)
        except (SSHException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}") from error
        stated = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
        if stated.get("hostname") == [alias]:  # paramiko's default
            del stated["hostname"]
        for name, values in stated.items():
            merged[name] = merged.get(name, []) + values if name == "identityfile" else merged.get(name, values)
    return merged
