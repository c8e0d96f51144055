"""How a host is reached, and what opens an inventory's vaults: plain records that every room may pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from phi4_edge.core.layout import LOOPBACK

# What a server binds to listen everywhere, and the loopback address at which it then answers.
EVERYWHERE = MappingProxyType({"0.0.0.0": LOOPBACK, "::": "::1"})  # noqa: S104 - recognised here, never a default


def answering(bind: str) -> str:
    """Return the address at which a server that binds `bind` answers on its own host; loopback when it is ""."""
    return EVERYWHERE.get(bind, bind) or LOOPBACK


# The group of hosts that run no engine: each makes gateways reachable at one address.
BALANCERS = "balancers"
# What Ansible takes in the place of a file for a password that it asks for.
PROMPTS = frozenset({"prompt", "prompt_ask_vault_pass"})


@dataclass(frozen=True)
class VaultSecret:
    """One password of Ansible Vault: its label ("" for none), and the file or program that gives it.

    `password`: the password itself, where it was typed.
    """

    label: str = ""
    path: str = ""
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> VaultSecret:
        """The secret of a `--vault-id`, [label@]source, as Ansible splits it."""
        label, sign, path = text.partition("@")
        return cls(label, path) if sign else cls("", text)

    @property
    def asked(self) -> bool:
        """Whether the operator is to type it."""
        return self.path in PROMPTS

    def identity(self, path: str = "") -> str:
        """The value of Ansible's `--vault-id`; `path` in the place of its own, such as a file with what was typed."""
        path = path or self.path
        return f"{self.label}@{path}" if self.label else path


_SECURE_SHELL = frozenset({"ssh", "smart", "ansible.builtin.ssh"})
_SUDO = frozenset({"", "sudo", "ansible.builtin.sudo"})


@dataclass(frozen=True)
class SshSettings:
    """How Ansible would call ssh for a host, by its names for it; empty where nothing is set.

    `jump`: the jump host of the command line, where it counts. `timeout` of a connection in seconds.
    """

    private_key_file: str = ""
    common_args: str = ""
    extra_args: str = ""
    python: str = ""
    ssh_args: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    executable: str = "ssh"
    host_key_checking: bool = True
    timeout: int = 10
    retries: int = 0
    pkcs11_provider: str = ""
    control_path: str = ""
    jump: str = ""


@dataclass(frozen=True)
class Login:
    """What the operator's command line says of logins: for hosts of which the inventory says nothing else."""

    user: str = ""
    private_key_file: str = ""
    jump: str = ""


# Variables of roles that are times in seconds, and no more than that: who does the work of the roles can obey them.
ROLE_TIMES = frozenset(
    {
        *("lock_stale_seconds", "lock_heartbeat_seconds"),
        *("health_start_seconds", "health_generation_seconds", "health_stability_seconds"),
    }
)


@dataclass(frozen=True)
class Host:
    """One host of an inventory. `vars`: its `phi4_*` variables as plain data. `port` 0 and `user` "" are unsaid.

    `groups`: those that it is in, without the two that all hosts are in. `only_ansible`: the setting of this host that
    only a task of Ansible's obeys, "" where there is none. `for_roles`: variables of it, beside the `phi4_*` ones, that
    may be for a role of ours, None for those that nobody evaluated.
    """

    name: str
    address: str = ""
    port: int = 0
    user: str = ""
    connection: str = "ssh"
    vars: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    ssh: SshSettings = field(default_factory=SshSettings)
    become: bool | None = None
    become_user: str = ""
    become_method: str = ""
    become_password: str = field(default="", repr=False)
    only_ansible: str = ""
    groups: tuple[str, ...] = ()
    for_roles: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def balances(self) -> bool:
        """Whether it is a balancer in front of gateways, and none itself."""
        return BALANCERS in self.groups

    @property
    def over_ssh(self) -> bool:
        """Whether Ansible reaches it with OpenSSH."""
        return self.connection in _SECURE_SHELL

    @property
    def by_sudo(self) -> bool:
        """Whether root is become there with sudo, as Ansible does without being told otherwise."""
        return self.become_method in _SUDO and self.become_user in ("", "root")
