"""The one reader of connection settings: what Ansible's own configuration says of the ssh connection to a host.

The options, their sources and the order in which these count are those of Ansible's ssh connection plugin:
variables of the inventory, the command line, the environment, ansible.cfg.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from phi4_edge import content
from phi4_edge.core.inventory import Login, SshSettings
from phi4_edge.errors import InventoryError

_MOST_RETRIES = 10  # of Ansible's, which waits longer before each


def unchecking() -> str:
    """The ansible.cfg that switches the check of host keys off for all hosts, "" where none does."""
    reader = Reader(Login())
    value, source = reader.read("host_key_checking", {})
    return reader.file if value is False and source == "set" and "ANSIBLE_HOST_KEY_CHECKING" not in os.environ else ""


class Evaluated(Protocol):
    """The variables of one host, as plain data when they are asked for."""

    def value(self, *names: str) -> Any:
        """The first of these that is set and not omitted; None where none is."""


class Reader:
    """Reads through Ansible's configuration as it is in the working directory and the environment of now."""

    def __init__(self, login: Login) -> None:
        """`login`: what the command line says."""
        from ansible import constants
        from ansible.config.manager import find_ini_config_file
        from ansible.plugins.loader import connection_loader

        connection_loader.get("ssh", class_only=True)  # makes its options known to the configuration
        self._config, self._login = constants.config, login
        self._file = find_ini_config_file(set())
        self._options = self._config.get_configuration_definitions("connection", "ssh")

    def default(self, name: str) -> str:
        """A setting for all connections, by Ansible's name for it; "" where it is not set."""
        value = self._config.get_config_value_and_origin(name, cfile=self._file)[0]
        return "" if value is None else str(value)

    def connection(self, host: str, variables: Evaluated) -> Connection:
        """The settings of a host. Raises InventoryError for one that Ansible would refuse."""
        return Connection(host, self, dict(self._said(variables)))

    def _said(self, variables: Evaluated) -> Iterator[tuple[str, Any]]:
        for option in self._options.values():
            for entry in option.get("vars") or ():
                if (found := variables.value(entry["name"])) is not None:
                    yield entry["name"], found

    def read(self, option: str, said: Mapping[str, Any]) -> tuple[Any, str]:
        """An option's value, and what kind of source it is from: "var", "cli", "set" or "default"."""
        if option not in self._options:  # of a newer ansible-core
            return None, "default"
        value, origin = self._config.get_config_value_and_origin(
            option, cfile=self._file, plugin_type="connection", plugin_name="ssh", variables=said
        )
        if str(origin).startswith("var: ") and value is not None:
            return value, "var"
        if (typed := self._typed(option)) is not None:
            return typed, "cli"
        ours = str(origin) == str(content.root() / "ansible.cfg")  # for plain ansible-playbook in a checkout
        return value, "default" if origin == "default" or ours else "set"

    def _typed(self, option: str) -> Any:
        """What Ansible's programs take from their command line before they look further, in which it has defaults."""
        if option == "remote_user":
            return self._login.user or self.default("DEFAULT_REMOTE_USER") or None
        if option == "private_key_file":
            return self._login.private_key_file or self.default("DEFAULT_PRIVATE_KEY_FILE") or None
        if option == "timeout":
            return int(self.default("DEFAULT_TIMEOUT"))
        return None

    @property
    def file(self) -> str:
        """The ansible.cfg that counts, "" where there is none."""
        return str(self._file or "")

    @property
    def jump(self) -> str:
        """The jump host of the command line."""
        return self._login.jump


class Connection:
    """The settings of one host."""

    def __init__(self, host: str, reader: Reader, said: Mapping[str, Any]) -> None:
        self._host, self._reader, self._said = host, reader, said

    def text(self, option: str, *sources: str) -> str:
        """An option as text, "" where it is not set, or not by one of `sources` where these are given."""
        value, source = self._read(option)
        return "" if value is None or (sources and source not in sources) else str(value)

    @property
    def port(self) -> int:
        """The port, 0 where none is set."""
        names = [name for name in ("ansible_ssh_port", "ansible_port") if name in self._said]
        value = self._said[names[0]] if names else self._read("port")[0]
        text = "0" if value in (None, "") else str(value)
        if not text.isdigit() or int(text) > 65535:
            raise InventoryError(f"found ansible_port {text!r} of host {self._host}, needed a number from 1 to 65535")
        return int(text)

    def settings(self, python: str) -> SshSettings:
        """All that ssh is to be called with; `python` is the interpreter there."""
        checking, source = self._read("host_key_checking")
        own_arguments = self._read("ssh_args")[1] == "var"
        return SshSettings(
            private_key_file=self.text("private_key_file"),
            private_key=self.text("private_key"),
            common_args=self.text("ssh_common_args"),
            extra_args=self.text("ssh_extra_args"),
            python=python,
            ssh_args=self.text("ssh_args", "var", "set"),
            password=self.text("password"),
            executable=self.text("ssh_executable") or "ssh",
            # Our runs switch it on for all; only what is said of a host itself goes over that.
            host_key_checking=checking is not False or source != "var",
            timeout=self._number("timeout"),
            retries=min(self._number("reconnection_retries"), _MOST_RETRIES),
            pkcs11_provider=self.text("pkcs11_provider"),
            control_path=self.text("control_path", "var", "set"),
            jump="" if own_arguments else self._reader.jump,
        )

    def _number(self, option: str) -> int:
        value = self._read(option)[0]
        return max(0, int(value or 0))

    def _read(self, option: str) -> tuple[Any, str]:
        from ansible.errors import AnsibleError

        try:
            return self._reader.read(option, self._said)
        except AnsibleError as error:
            raise InventoryError(
                f"found setting {option} of the ssh connection to host {self._host} that Ansible refuses: "
                f"{' '.join(str(error).split())[:300]}; needed a value of its type, see ansible-doc -t connection ssh"
            ) from error
