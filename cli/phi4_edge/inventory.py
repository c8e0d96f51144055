"""Reads an inventory through Ansible's own loader, with all that it understands, and returns frozen hosts.

An inventory is code: its templates and executable sources run on the controller, here as in every Ansible run.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phi4_edge import ansible_version
from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.core.plan.overrides import EXTRA
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import InventoryError

__all__ = ["Host", "SshSettings", "load"]

_PREFIX = "phi4_"
_MOST_BYTES = 16 * 1024 * 1024


def load(
    paths: Sequence[str], limit: str | None = None, vault_password_file: str | Path | None = None
) -> tuple[Host, ...]:
    """The hosts of all sources in inventory order, those of `limit` only where it is given.

    Raises InventoryError for a source that is missing, cannot be read or is empty, for a limit that matches nothing,
    and for a variable of a host that cannot be templated; PreflightError for an untested version of ansible-core.
    """
    ansible_version.check()
    for path in paths:
        _must_exist(path)
    # Executable sources, plugins and vault programs see what they see when the playbook runs.
    with narrowed(Need.ANSIBLE), _quiet_ansible() as said:
        return _load(list(paths), limit, vault_password_file, said)


def _must_exist(path: str) -> None:
    if "," not in path and not Path(path).expanduser().exists():
        near = difflib.get_close_matches(Path(path).name, _siblings(path), 1)
        hint = (
            f"did you mean {Path(path).parent / near[0]}?" if near else "give the path of an inventory file or folder"
        )
        raise InventoryError(
            f"found no inventory {path}, needed a file, a folder or a list of hosts like 'a,b,': {hint}"
        )
    if "," not in path:
        _must_end(path)


def _must_end(path: str) -> None:
    """Ansible reads a source to its end, several times: a device or a pipe has none, or none twice."""
    found = Path(path).expanduser().stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InventoryError(
            f"found inventory {path} that is not a regular file, needed a file or a folder: write it to one"
        )
    program = found.st_mode & 0o111
    if stat.S_ISREG(found.st_mode) and not program and found.st_size > _MOST_BYTES:
        raise InventoryError(
            f"found inventory {path} of {found.st_size:,} bytes, needed at most {_MOST_BYTES:,}: is it an inventory?"
        )


def _siblings(path: str) -> list[str]:
    parent = Path(path).expanduser().parent
    return [entry.name for entry in parent.iterdir()] if parent.is_dir() else []


@contextmanager
def _quiet_ansible() -> Iterator[list[str]]:
    """Collects Ansible's warnings instead of printing them; names each source's trouble for the error message."""
    from ansible.utils.display import Display

    said: list[str] = []
    display = Display()
    kept = display.display
    display.display = lambda msg, *args, **kwargs: said.append(str(msg).strip())
    try:
        yield said
    finally:
        display.display = kept


def _load(paths: list[str], limit: str | None, vault_file: str | Path | None, said: list[str]) -> tuple[Host, ...]:
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig
    from ansible.vars.manager import VariableManager

    if AnsibleCollectionConfig.collection_finder is None:  # a second time in one process is a warning
        init_plugin_loader()
    shown = ", ".join(paths)
    try:
        loader = DataLoader()
        loader.set_vault_secrets(_vault_secrets(loader, vault_file))
        manager = InventoryManager(loader=loader, sources=[_absolute(path) for path in paths])
        _refuse_unparsed(shown, manager, said)
        names = _limited(manager, [host.name for host in manager.get_hosts("all")], limit, said)
        variables = VariableManager(loader=loader, inventory=manager)
        return tuple(_host(name, manager, variables, loader) for name in names)
    except (AnsibleError, OSError, SystemExit) as error:  # ansible.cli exits where the locale is not UTF-8
        raise InventoryError(f"found a mistake in inventory {shown}: {_first_lines(str(error))}") from error


def _absolute(path: str) -> str:
    return path if "," in path else str(Path(path).expanduser().absolute())


def _vault_secrets(loader: Any, vault_file: str | Path | None) -> list[Any]:
    from ansible import constants
    from ansible.cli import CLI
    from ansible.parsing import vault

    ids = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    named = str(vault_file) if vault_file else constants.DEFAULT_VAULT_PASSWORD_FILE
    files = [str(Path(named).expanduser().absolute())] if named else []
    wanted: dict[str, Any] = {"vault_ids": ids, "vault_password_files": files, "auto_prompt": False}
    secrets_context = getattr(vault, "VaultSecretsContext", None)
    if secrets_context is None:  # before ansible-core 2.19 values are decrypted with the loader's secrets
        return list(CLI.setup_vault_secrets(loader, **wanted))
    secrets: list[Any] = CLI.setup_vault_secrets(loader, **wanted, initialize_context=False)
    # Values are decrypted where they are used, with the secrets of the whole process: set once, replaced afterwards.
    context = secrets_context.current(optional=True)
    if context is None:
        secrets_context.initialize(secrets_context(secrets))
    else:
        context.secrets = secrets
    return secrets


def _refuse_unparsed(shown: str, manager: Any, said: Sequence[str]) -> None:
    """A source that no plugin could read is only a warning for Ansible, which then goes on with fewer hosts."""
    bad = [line for line in said if "Failed to parse" in line or "Unable to parse" in line or "parsing failure" in line]
    if bad:
        where = next((line.strip() for text in bad for line in text.splitlines() if "Origin:" in line), "")
        raise InventoryError(
            f"found inventory {shown} that cannot be read: {_first_lines(bad[0])} {where}; needed INI, YAML or an "
            f"executable that prints JSON: try ansible-inventory -i {shown} --list"
        )
    if not manager.get_hosts("all"):
        raise InventoryError(f"found no hosts in inventory {shown}, needed at least one: add a line with a host's name")


def _limited(manager: Any, everyone: list[str], limit: str | None, said: list[str]) -> list[str]:
    """Names that the limit selects. A part that matches nothing is a mistake too, though Ansible would only warn."""
    if not limit:
        return everyone
    _check_expressions(limit)
    del said[:]
    manager.subset(limit)
    names = [host.name for host in manager.get_hosts("all")]
    unmatched = [line.rpartition("ignoring: ")[2].strip() for line in said if "Could not match" in line]
    if unmatched or not names:
        wrong = unmatched[0] if unmatched else limit
        near = difflib.get_close_matches(wrong, [*everyone, *(set(manager.groups) - {"ungrouped"})], 1)
        hint = f"did you mean {near[0]}?" if near else "use a name, a group or a pattern of these"
        listed = ", ".join(everyone[:10]) + (f" and {len(everyone) - 10} more" if len(everyone) > 10 else "")
        raise InventoryError(f"found no host that matches --limit {wrong}; the inventory has {listed}: {hint}")
    return names


def _check_expressions(limit: str) -> None:
    """Ansible answers a regular expression that does not compile with every host, which is the opposite of a limit."""
    for part in limit.split(","):
        expression = part.strip().lstrip("!&")
        if expression.startswith("~"):
            try:
                re.compile(expression[1:])
            except re.error as error:
                raise InventoryError(
                    f"found a regular expression that does not compile in --limit {limit} ({error}); correct it"
                ) from error


def _host(name: str, manager: Any, variables: Any, loader: Any) -> Host:
    from ansible.template import Templar

    known = variables.get_vars(host=manager.get_host(name), include_hostvars=True)
    templar = Templar(loader=loader, variables=known)

    def value(key: str, *others: str) -> Any:
        found = next((known[each] for each in (key, *others) if each in known), None)
        return _evaluated(templar, found, name, key)

    ours = {
        key: value(key) for key in sorted(known) if isinstance(key, str) and (key.startswith(_PREFIX) or key in EXTRA)
    }
    return Host(
        name=str(name),
        address=_text(value("ansible_ssh_host", "ansible_host")) or str(name),
        port=_port(name, value("ansible_ssh_port", "ansible_port")),
        user=_text(value("ansible_ssh_user", "ansible_user")) or _default("remote_user"),
        connection=_text(value("ansible_connection")) or _default("connection") or "ssh",
        vars=MappingProxyType(ours),
        ssh=SshSettings(
            private_key_file=_text(value("ansible_ssh_private_key_file", "ansible_private_key_file"))
            or _default("private_key_file"),
            common_args=_text(value("ansible_ssh_common_args")) or os.environ.get("ANSIBLE_SSH_COMMON_ARGS", ""),
            extra_args=_text(value("ansible_ssh_extra_args")) or os.environ.get("ANSIBLE_SSH_EXTRA_ARGS", ""),
            python=_text(value("ansible_python_interpreter")),
            ssh_args=_text(value("ansible_ssh_args")) or os.environ.get("ANSIBLE_SSH_ARGS", ""),
            password=_text(value("ansible_ssh_password", "ansible_ssh_pass", "ansible_password")),
        ),
        become=_flag(value("ansible_become")),
        become_user=_text(value("ansible_become_user")),
        become_method=_text(value("ansible_become_method")),
        become_password=_text(value("ansible_become_password", "ansible_become_pass")),
    )


def _evaluated(templar: Any, found: Any, host: str, key: str) -> Any:
    from ansible.errors import AnsibleError

    try:
        return _plain(templar.template(found))  # before 2.19 a vault's value is decrypted only when it is read
    except AnsibleError as error:
        raise InventoryError(
            f"found variable {key} of host {host} that cannot be evaluated: {_first_lines(str(error))}; "
            f"needed a value or a template of known variables"
        ) from error


def _default(name: str) -> str:
    """What ansible.cfg and the environment say for all hosts."""
    from ansible import constants

    keys = {"remote_user": "DEFAULT_REMOTE_USER", "connection": "DEFAULT_TRANSPORT"}
    keys["private_key_file"] = "DEFAULT_PRIVATE_KEY_FILE"
    return _text(_plain(getattr(constants, keys[name], None)))


def _plain(value: Any) -> Any:
    """The same as builtin types: Ansible's strings carry tags, which later layers must not see."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _flag(value: Any) -> bool | None:
    return None if value is None else str(value).strip().lower() in {"true", "yes", "on", "1", "y", "t"}


def _port(host: str, value: Any) -> int:
    text = _text(value) or "0"
    if not text.isdigit() or int(text) > 65535:
        raise InventoryError(f"found ansible_port {text!r} of host {host}, needed a number from 1 to 65535")
    return int(text)


def _first_lines(text: str) -> str:
    lines = [line.strip().removeprefix("[WARNING]: ") for line in text.splitlines() if line.strip()]
    hint = "; give the right password with --vault-password-file" if "decrypt" in text else ""
    return " ".join(lines[:4])[:600] + hint
