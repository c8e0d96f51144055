"""How root is become on a host, as Ansible's own configuration says it; and what of that only Ansible itself can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phi4_edge.inventory.connection import Evaluated

_METHOD = "sudo"
# What a task of Ansible's obeys and one command over ssh does not: a host that sets one of them is left to Ansible.
_ANSIBLES = (
    "ansible_shell_type",
    "ansible_shell_executable",
    "ansible_sudo_chdir",
    "probe_become",
    "probe_deep",
    "probe_verify_seconds",
    "probe_timeout_seconds",
    "doctor_become",
    "doctor_rounds",
    "doctor_timeout_seconds",
)
_SHELL = "/bin/sh"


@dataclass(frozen=True)
class Become:
    """Empty where it is Ansible's default. `beyond` names the setting that only Ansible itself obeys."""

    user: str = ""
    method: str = ""
    password: str = ""
    beyond: str = ""


class BecomeReader:
    """Reads through Ansible's configuration, as the reader of connections does."""

    def __init__(self, file: str) -> None:
        """`file`: the ansible.cfg that counts, "" for none."""
        from ansible import constants
        from ansible.plugins.loader import become_loader

        become_loader.get(_METHOD, class_only=True)  # makes its options known to the configuration
        self._config, self._file = constants.config, file or None
        self._options = self._config.get_configuration_definitions("become", _METHOD)

    def of(self, variables: Evaluated) -> Become:
        """How a host is become root on."""
        method = _text(variables.value("ansible_become_method")) or self._default("DEFAULT_BECOME_METHOD")
        return Become(
            user=self._changed("become_user", variables),
            method="" if method == _METHOD else method,
            password=self._changed("become_pass", variables),
            beyond=self._beyond(variables),
        )

    def _beyond(self, variables: Evaluated) -> str:
        for name in _ANSIBLES:
            if variables.value(name) is not None:
                return name
        for option in ("become_exe", "become_flags"):
            if found := self._changed(option, variables):
                return f"{option} {found}"
        shell = self._default("DEFAULT_EXECUTABLE")
        return "" if shell in ("", _SHELL) else f"executable {shell}"

    def _default(self, name: str) -> str:
        return _text(self._config.get_config_value_and_origin(name, cfile=self._file)[0])

    def _changed(self, option: str, variables: Evaluated) -> str:
        """An option as text, "" where it is what Ansible has without being told."""
        definition = self._options[option]
        names = [entry["name"] for entry in definition.get("vars") or ()]
        said = {name: found for name in names if (found := variables.value(name)) is not None}
        value = self._config.get_config_value_and_origin(
            option, cfile=self._file, plugin_type="become", plugin_name=_METHOD, variables=said
        )[0]
        return "" if value == definition.get("default") else _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
