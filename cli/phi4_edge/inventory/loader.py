"""Loads the sources of an inventory, and tells what is wrong with them."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from phi4_edge import ansible_version
from phi4_edge.core.inventory import Host, Login, VaultSecret
from phi4_edge.core.text import printable
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import InventoryError, PreflightError
from phi4_edge.inventory import extra_vars, routing, sources, vaults
from phi4_edge.inventory.listing import Listing
from phi4_edge.inventory.remarks import Remarks, first_lines, listening
from phi4_edge.inventory.variables import Variables

_NO_LOGIN = Login()


def load(
    paths: Sequence[str],
    limit: str | None = None,
    secrets: Sequence[VaultSecret] = (),
    warn: Callable[[str], object] = lambda warning: None,
    said: Sequence[str] = (),
    login: Login = _NO_LOGIN,
) -> tuple[Host, ...]:
    """The hosts of all sources in inventory order, those of `limit` only where it is given.

    `secrets` open its vaults. `said`: each `--extra-vars` of the command line, whose variables go over all others.
    `login`: the command line's, for what the inventory does not say of a host.

    `warn` gets what Ansible warns of, and what it accepts although nobody means it, in a line each. Raises
    InventoryError for a source that is missing, cannot be read or is empty, for a limit that matches nothing, and for a
    variable of a host that cannot be templated; PreflightError for an untested version of ansible-core, or one that
    cannot start here.
    """
    ansible_version.check()
    for path in paths:
        sources.check(path)
    # Executable sources, plugins and vault programs see what they see when the playbook runs.
    with narrowed(Need.ANSIBLE):
        _must_start()
        with listening() as remarks, extra_vars.said(said):
            loader = _data_loader(secrets, said)
            hosts = _load(loader, list(paths), limit, remarks, warn, login)
    if line := _not_through(hosts, login.jump):
        warn(line)
    return hosts


def _not_through(hosts: Sequence[Host], jump: str) -> str:
    """Which hosts are not reached through the jump host of the command line, "" where there are none."""
    others = [host.name for host in hosts if jump and host.over_ssh and not host.ssh.jump]
    if not others:
        return ""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"--jump does not count for {printable(others[0])}{more}: the inventory sets ansible_ssh_args there"


def _must_start() -> None:
    """Ansible ends the process where its locale, Python or settings do not suit it, whatever the inventory is."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            routing.remember()
            importlib.import_module("ansible.cli")
    except SystemExit as error:
        told = said.getvalue() if isinstance(error.code, int) else str(error)
        reason = told.partition("\n")[0].removeprefix("ERROR: ") or f"exit status {error.code}"
        locale = "locale" in reason or "encoding" in reason
        hint = "export LC_ALL=C.UTF-8" if locale else "see the requirements of ansible-core, and how this was started"
        needed = "a locale with UTF-8" if locale else "what Ansible asks for"
        raise PreflightError(f"found that Ansible cannot start here ({reason}), needed {needed}: {hint}") from error


def _data_loader(secrets: Sequence[VaultSecret], said: Sequence[str]) -> Any:
    """Ansible's reader of files, with the vaults open, after it has understood what is on the command line."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is None:  # a second time in one process is a warning
        init_plugin_loader()
    loader = DataLoader()
    vaults.read(loader, secrets)
    extra_vars.check(loader, said)
    return loader


def _load(
    loader: Any,
    paths: list[str],
    limit: str | None,
    remarks: Remarks,
    warn: Callable[[str], object],
    login: Login,
) -> tuple[Host, ...]:
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager

    shown = ", ".join(paths)
    absolute = [sources.absolute(path) for path in paths]
    try:
        manager = InventoryManager(loader=loader, sources=absolute, parse=False)
        listing = Listing(manager._inventory)  # there is no other way to see what its plugins put in
        remarks.reading = lambda: listing.source
        manager.parse_sources()
        everyone = [host.name for host in manager.get_hosts("all")]
        _refuse_unread(shown, everyone, remarks)
        told = [*remarks.lines, *listing.warnings(everyone)]
        for line in told:  # before the limit: a host that it does not find may be one that is left out
            warn(line)
        names = _limited(manager, everyone, limit, remarks)
        variables = Variables(manager, loader, absolute, login)
        hosts = tuple(variables.host(name) for name in names)
        for line in remarks.lines:
            if line not in told:
                warn(line)
        return hosts
    except (AnsibleError, OSError) as error:
        raise InventoryError(f"found a mistake in inventory {shown}: {first_lines(str(error))}") from error


def _refuse_unread(shown: str, everyone: Sequence[str], remarks: Remarks) -> None:
    """A source that no plugin could read is only a warning for Ansible, which then goes on with fewer hosts."""
    if remarks.unread:
        raise InventoryError(
            f"found inventory {shown} that cannot be read: {remarks.unread}; needed INI, YAML or an "
            f"executable that prints JSON: try ansible-inventory -i {shown} --list"
        )
    if not everyone:
        why = f" ({'; '.join(remarks.lines)})" if remarks.lines else ""
        raise InventoryError(
            f"found no hosts in inventory {shown}{why}, needed at least one: add a line with a host's name"
        )


def _limited(manager: Any, everyone: list[str], limit: str | None, remarks: Remarks) -> list[str]:
    """Names that the limit selects. A part that matches nothing is a mistake too, though Ansible would only warn."""
    if not limit:
        return everyone
    _check_expressions(limit)
    before = len(remarks.said)
    manager.subset(limit)
    names = [host.name for host in manager.get_hosts("all")]
    said = [remark.text for remark in remarks.said[before:]]
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
