"""Options that mean what they mean to ansible-playbook: vaults, extra variables, and how much is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from phi4_edge.core.inventory import VaultSecret


class VaultIdType(click.ParamType[VaultSecret]):
    """A secret of Ansible Vault as Ansible names it: [label@]prompt, or [label@]FILE, which may be a program."""

    name = "[LABEL@]SOURCE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VaultSecret:
        """The secret; a usage error where its file is none."""
        found = VaultSecret.parse(str(value))
        if not found.asked and not Path(found.path).expanduser().is_file():
            self.fail(
                f"found no file {found.path!r}, needed [LABEL@]FILE, [LABEL@]PROGRAM or [LABEL@]prompt", param, ctx
            )
        return found


options = (
    click.option(
        "--vault-id",
        type=VaultIdType(),
        multiple=True,
        help="Password of an Ansible vault: a file, a program, or prompt (repeatable).",
    ),
    click.option(
        "--vault-password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Password file or program of an Ansible vault (repeatable).",
    ),
    click.option(
        "--ask-vault-password",
        "--ask-vault-pass",
        "-J",
        is_flag=True,
        help="Ask for the password of an Ansible vault.",
    ),
    click.option(
        "--extra-vars",
        "-e",
        multiple=True,
        metavar="VARS",
        help="Variables over the inventory's: KEY=VALUE, JSON, YAML in braces, or @FILE (repeatable).",
    ),
    click.option(
        "--verbose",
        "-v",
        count=True,
        help="Show each task as it ends; -vv: and what it said; -vvv: and how hosts are connected to.",
    ),
)


def taken(given: dict[str, Any], ask: Callable[[str], str]) -> dict[str, Any]:
    """What these options say, by the names of operations.options.Reach; they are no longer among `given`.

    `ask` is called for each password that is to be typed.
    """

    def typed(vault: VaultSecret) -> VaultSecret:
        label = vault.label or "default"
        return replace(vault, password=ask(f"vault password ({label})")) if vault.asked else vault

    # In Ansible's order: what has a label comes first.
    vaults = [typed(vault) for vault in given.pop("vault_id")]
    vaults += [VaultSecret("default", str(path)) for path in given.pop("vault_password_file")]
    if given.pop("ask_vault_password"):
        vaults.append(typed(VaultSecret("default", "prompt")))
    return {"vaults": tuple(vaults), "extra_vars": given.pop("extra_vars"), "verbosity": given.pop("verbose")}
