"""Where and how ssh would connect for a host: Ansible's settings for it, and what OpenSSH itself makes of them."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phi4_edge.core.inventory import Host
from phi4_edge.ssh.command import asked
from phi4_edge.ssh.finding import Kind

# OpenSSH's own defaults, in its order of trying (ssh_config(5), IdentityFile; the security-key kinds need a touch).
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
GSSAPI = "gssapiauthentication"
_DEFAULT_KEY = re.compile(r"~/\.ssh/id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)")
CONNECT_SECONDS = 10.0  # Ansible's own default
MOST_CONNECT_SECONDS = 120.0
# Settings that let ssh in, or let it know a host, in ways that only it has; with the values that switch them off.
_ONLY_SSH: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "auth_refused": {
        "hostbasedauthentication": ("no", "false"),
        "certificatefile": ("none",),
        "pkcs11provider": ("none",),
        "identityagent": ("SSH_AUTH_SOCK", "none"),
        GSSAPI: ("no", "false"),  # the last one: distributions switch it on for all, and it needs a ticket
    },
    "host_key_unknown": {"knownhostscommand": ("none",), "verifyhostkeydns": ("no", "false")},
    "host_key_changed": {"knownhostscommand": ("none",)},
    "unreachable": {"bindaddress": ("none",), "bindinterface": ("none",)},
}
_ANYWAY: Mapping[Kind, str] = {}


@dataclass(frozen=True)
class Target:
    """`indirect` names what stands between us and the host (a jump host or proxy command); empty for a direct way.

    `only_ssh`: by kind of refusal, the setting with which ssh itself may get on all the same.
    """

    address: str
    port: int
    user: str
    key_files: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    key_alias: str
    strict: str
    identities_only: bool
    indirect: str
    connect_seconds: float = CONNECT_SECONDS
    only_ssh: Mapping[Kind, str] = field(default_factory=lambda: _ANYWAY)


def resolve(host: Host) -> Target:
    """Where ssh would go for this host. Raises ValueError for arguments or a configuration that cannot be read."""
    config = asked(host)

    def option(name: str, default: str = "") -> str:
        return (config.get(name) or [default])[0]

    tokens = _Tokens(host.address, option("hostname"), option("port", "22"), option("user") or getpass.getuser())
    keys = config.get("identityfile", [])
    if len(keys) > 1 and all(map(_DEFAULT_KEY.fullmatch, keys)):
        keys = list(DEFAULT_KEYS)
    known = [*_words(option("userknownhostsfile")), *_words(option("globalknownhostsfile"))]
    return Target(
        address=tokens.hostname,
        port=int(tokens.port),
        user=tokens.user,
        key_files=tokens.paths(keys),
        known_hosts=tokens.paths([word for word in known if word.lower() != "none"]),
        key_alias=option("hostkeyalias"),
        strict=option("stricthostkeychecking", "ask").lower(),
        identities_only=option("identitiesonly", "no").lower() == "yes",
        indirect=_indirect(host, config, tokens),
        connect_seconds=_seconds(option("connecttimeout")),
        only_ssh=dict(_only_ssh(config)),
    )


def _indirect(host: Host, config: Mapping[str, Sequence[str]], tokens: _Tokens) -> str:
    """What only ssh, or Ansible, can take to get there."""
    for name in ("proxyjump", "proxycommand"):
        if (said := (config.get(name) or ["none"])[0]) != "none":
            return said
    if Path(host.ssh.executable).name != "ssh":
        return f"{host.ssh.executable} (ssh_executable)"
    if host.ssh.private_key:
        return "a private key that is a variable"
    if host.ssh.pkcs11_provider:
        return f"a key on a token ({host.ssh.pkcs11_provider})"
    control = (config.get("controlpath") or ["none"])[0]
    if control != "none" and _answers(tokens.placed(control)):
        return f"a shared connection that is open ({control})"
    return ""


def _answers(path: str) -> bool:
    """Whether a process of ssh listens at this socket."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(path)
    except OSError:  # also for a path that is too long for a socket
        return False
    return True


def _only_ssh(config: Mapping[str, Sequence[str]]) -> Iterator[tuple[Kind, str]]:
    for kind, settings in _ONLY_SSH.items():
        for name, neutral in settings.items():
            if name in config and config[name][0] not in ("", *neutral):
                yield kind, f"{name} {config[name][0]}"
                break


def _seconds(said: str) -> float:
    return min(float(said), MOST_CONNECT_SECONDS) if said.isdigit() and int(said) else CONNECT_SECONDS


def _words(said: str) -> list[str]:
    """Paths of a list. OpenSSH prints one with a blank in it without quotes: what begins no path goes on with it."""
    paths: list[str] = []
    for word in shlex.split(said):
        if paths and not word.startswith(("/", "~", "%", ".")) and word.lower() != "none":
            paths[-1] += f" {word}"
        else:
            paths.append(word)
    return paths


@dataclass(frozen=True)
class _Tokens:
    """What ssh puts in the place of tokens (ssh_config(5), TOKENS), those that are known without its own hashes."""

    alias: str
    hostname: str
    port: str
    user: str

    def placed(self, text: str) -> str:
        found = {
            "h": self.hostname,
            "n": self.alias,
            "k": self.alias,
            "p": self.port,
            "r": self.user,
            "u": getpass.getuser(),
            "i": str(os.getuid()),
            "d": str(_home()),
            "%": "%",
        }
        return re.sub("%([hnkpruid%])", lambda match: found[match[1]], text)

    def paths(self, names: Sequence[str]) -> tuple[Path, ...]:
        placed = (self.placed(name) for name in names)
        paths = (_home() / name[2:] if name.startswith("~/") else Path(name).expanduser() for name in placed)
        return tuple(dict.fromkeys(paths))


def _home() -> Path:
    """Where OpenSSH looks, whatever the environment says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()
