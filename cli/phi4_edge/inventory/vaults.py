"""The passwords of Ansible's vaults: all that were named are used, in the order in which Ansible would try them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import InventoryError
from phi4_edge.inventory.remarks import first_lines

_NEXT = ": correct or leave out that --vault-id or --vault-password-file"


def read(loader: Any, vaults: Sequence[VaultSecret]) -> None:
    """The loader decrypts with all of these, with those of ansible.cfg, and with no others.

    Raises InventoryError for one that gives no password: Ansible itself goes on without it where it has another.
    """
    from ansible import constants
    from ansible.cli import CLI
    from ansible.errors import AnsibleError
    from ansible.parsing import vault

    configured = _configured(constants.DEFAULT_VAULT_IDENTITY_LIST)
    contexts = getattr(vault, "VaultSecretsContext", None)  # none before ansible-core 2.19: the loader has the secrets
    with contextlib.ExitStack() as stack:
        ours = [(each, stack.enter_context(_path(each))) for each in vaults]
        identities = [each.identity(path) for each, path in ours]
        wanted: dict[str, Any] = {"vault_ids": [*configured, *identities], "auto_prompt": False}
        if contexts is not None:
            wanted["initialize_context"] = False
        try:
            secrets = CLI.setup_vault_secrets(loader, **wanted)  # adds the password file of ansible.cfg by itself
        except AnsibleError as error:
            raise InventoryError(
                f"found no password of a vault ({first_lines(str(error))}), needed one{_NEXT}"
            ) from error
    read_from = {getattr(secret, "filename", "") for _, secret in secrets}
    for each, path in ours:
        if path not in read_from:
            raise InventoryError(f"found no vault password in {each.path}, needed one{_NEXT}")
    loader.set_vault_secrets(secrets)
    if contexts is None:
        return
    # Values are decrypted where they are used, with the secrets of the whole process: set once, replaced afterwards.
    context = contexts.current(optional=True)
    if context is None:
        contexts.initialize(contexts(secrets))
    else:
        context.secrets = secrets


def _configured(identities: Sequence[Any]) -> list[str]:
    """Those of ansible.cfg and the environment. Raises InventoryError for one that a run would ask for, unheard."""
    for identity in map(str, identities):
        if VaultSecret.parse(identity).asked:
            raise InventoryError(
                f"found {identity} in vault_identity_list of Ansible's configuration, which every run would ask for; "
                f"needed a file or a program there: take it out, and give --vault-id {identity}"
            )
    return list(map(str, identities))


@contextlib.contextmanager
def _path(vault: VaultSecret) -> Iterator[str]:
    """Where Ansible's own reader finds the secret. What was typed it reads from a pipe, which no disk keeps."""
    if vault.password is None:
        yield os.path.normpath(Path(vault.path).expanduser().absolute())
        return
    reader, writer = os.pipe()
    try:
        os.write(writer, vault.password.encode())
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
