"""The variables of a host as Ansible evaluates them when it connects, and the Host that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from phi4_edge.core.inventory import ROLE_TIMES, Host, Login
from phi4_edge.core.plan.overrides import EXTRA
from phi4_edge.core.rollout import planned
from phi4_edge.errors import InventoryError
from phi4_edge.inventory.become import BecomeReader
from phi4_edge.inventory.connection import Reader
from phi4_edge.inventory.remarks import first_lines

_PREFIX = "phi4_"
# Variables of roles that have work in each provision. What begins so may be somebody else's: nobody knows.
_ROLES = ("lock_", "probe_", "plan_", "trust_", "service_", "health_", "receipt_")
_OMITTED = object()
_EVERYBODYS = ("all", "ungrouped")
_PLAYED = ("ansible_play_hosts_all", "ansible_play_hosts", "ansible_play_batch", "play_hosts")


class Variables:
    """Evaluates as a task of a play over the hosts does: with the magic variables and the hostvars of every host."""

    def __init__(self, inventory: Any, loader: Any, paths: Sequence[str], login: Login) -> None:
        """`inventory` is Ansible's manager with all sources read, and limited; `login` is the command line's."""
        from ansible.cli import CLI
        from ansible.vars.hostvars import HostVars
        from ansible.vars.manager import VariableManager

        self._inventory, self._loader, self._reader = inventory, loader, Reader(login)
        self._become = BecomeReader(self._reader.file)
        version = CLI.version_info(gitinfo=False)
        self._manager = VariableManager(loader=loader, inventory=inventory, version_info=version)
        # What Ansible's own programs take from their command line, which a library has not: it has no other way in.
        self._manager._options_vars = {
            "ansible_version": version,
            "ansible_check_mode": False,
            "ansible_diff_mode": False,
            "ansible_verbosity": 0,
            "ansible_inventory_sources": list(paths),
            "ansible_run_tags": ["all"],
            "ansible_skip_tags": [],
        }
        HostVars(inventory, self._manager, loader)  # makes itself known to the manager
        hosts = [host.name for host in inventory.get_hosts("all")]
        # Not from a Play of Ansible's: it would decrypt every variable, also those that nobody asks for.
        self._play = dict.fromkeys(_PLAYED, hosts)

    def host(self, name: str) -> Host:
        """The host of this name. Raises InventoryError for a variable of it that cannot be evaluated."""
        known = {**self._play, **self._manager.get_vars(host=self._inventory.get_host(name))}
        known["vars"] = dict(known)
        return _host(name, _Templates(name, known, self._loader), self._reader, self._become)


class _Templates:
    """The variables of one host, evaluated when they are asked for."""

    def __init__(self, host: str, known: Mapping[str, Any], loader: Any) -> None:
        from ansible.template import Templar

        self.ours = [
            key
            for key in sorted(known, key=str)
            if isinstance(key, str) and (key.startswith(_PREFIX) or key in EXTRA) and key not in planned.VARIABLES
        ]
        self._host, self._known = host, known
        self._omit = known.get("omit", _OMITTED)  # before ansible-core 2.19 it is a text that no one else would write
        self._templar = Templar(loader=loader, variables=known)

    def value(self, *names: str) -> Any:
        """The first of these variables that is set and not omitted, as plain data; None where none is."""
        for name in names:
            if name in self._known and (found := self.evaluated(name)) is not _OMITTED:
                return found
        return None

    def for_roles(self) -> dict[str, Any]:
        """Variables that roles may read; None for all but the times that are numbers."""
        found = [str(key) for key in self._known if str(key).startswith(_ROLES)]
        return {key: self._time(key) if key in ROLE_TIMES else None for key in found}

    def _time(self, name: str) -> float | None:
        try:
            return float(self.evaluated(name))
        except (InventoryError, TypeError, ValueError):  # whoever uses it says so
            return None

    def evaluated(self, name: str) -> Any:
        """A variable as plain data, _OMITTED where its template says so."""
        from ansible.errors import AnsibleError

        try:
            found = self._templar.template(self._known[name])
            if isinstance(found, str) and found == self._omit:
                return _OMITTED
            return _plain(found, self._omit)  # before 2.19 a vault's value is decrypted only when it is read
        except AnsibleError as error:
            if type(error).__name__ == "AnsibleValueOmittedError":  # since 2.19; where it is defined is private
                return _OMITTED
            raise InventoryError(
                f"found variable {name} of host {self._host} that cannot be evaluated: {first_lines(str(error))}; "
                f"needed a value or a template of known variables"
            ) from error


def _host(name: str, templates: _Templates, reader: Reader, becoming: BecomeReader) -> Host:
    value = templates.value
    ours = {key: found for key in templates.ours if (found := templates.evaluated(key)) is not _OMITTED}
    connection, become = reader.connection(name, templates), becoming.of(templates)
    return Host(
        name=str(name),
        address=connection.text("host", "var") or str(name),
        port=connection.port,
        user=connection.text("remote_user"),
        connection=_text(value("ansible_connection")) or reader.default("DEFAULT_TRANSPORT") or "ssh",
        vars=MappingProxyType(ours),
        ssh=connection.settings(python=_text(value("ansible_python_interpreter"))),
        become=_flag(value("ansible_become")),
        become_user=become.user,
        become_method=become.method,
        become_password=become.password,
        only_ansible=become.beyond,
        groups=tuple(str(group) for group in value("group_names") or () if group not in _EVERYBODYS),
        for_roles=MappingProxyType(templates.for_roles()),
    )


def _plain(value: Any, omit: Any = _OMITTED) -> Any:
    """The same as builtin types: Ansible's strings carry tags, which later layers must not see."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, omit) for key, item in value.items() if not _is(item, omit)}
    if isinstance(value, (list, tuple)):
        return [_plain(item, omit) for item in value if not _is(item, omit)]
    return str(value)


def _is(item: Any, omit: Any) -> bool:
    return item is omit or (isinstance(item, str) and item == omit)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _flag(value: Any) -> bool | None:
    return None if value is None else str(value).strip().lower() in {"true", "yes", "on", "1", "y", "t"}
