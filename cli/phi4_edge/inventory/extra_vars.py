"""Variables of the command line (`--extra-vars`): given to Ansible's own reader here, and as documents to its runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi4_edge import documents
from phi4_edge.errors import InventoryError
from phi4_edge.inventory.remarks import first_lines

MOST_BYTES = 4 * 1024 * 1024
_OURS = "phi4_hosts"
_NEEDED = "needed KEY=VALUE, JSON or YAML in braces, or @FILE"


@contextlib.contextmanager
def said(texts: Sequence[str]) -> Iterator[None]:
    """Meanwhile Ansible reads its command line as if these were on it: a library has none.

    Plugins of an inventory that use extra variables see them too.
    """
    from ansible import context, template
    from ansible.utils import vars as variables
    from ansible.utils.context_objects import CLIArgs

    def forget() -> None:
        if hasattr(variables.load_extra_vars, "extra_vars"):  # it reads them once in a process
            del variables.load_extra_vars.extra_vars

    # Since ansible-core 2.19 a text is a template only where its reader vouches for it, as the command line's does.
    trusted = getattr(template, "trust_as_template", str)
    before = context.CLIARGS
    context.CLIARGS = CLIArgs({**before, "extra_vars": tuple(trusted(text) for text in texts)})
    forget()
    try:
        yield
    finally:
        context.CLIARGS = before
        forget()


def check(loader: Any, texts: Sequence[str]) -> None:
    """Raises InventoryError for one that Ansible cannot read, or would take although no operator means it.

    What was typed is in no message: it may be a secret.
    """
    from ansible.errors import AnsibleError
    from ansible.utils.vars import load_extra_vars

    for text in texts:
        try:
            with said([text]):
                _refuse(load_extra_vars(loader=loader))
        except AnsibleError as error:
            raise InventoryError(f"found --extra-vars {_why(text, error)}; {_NEEDED}") from error


def _why(text: str, error: Exception) -> str:
    if text.startswith("@"):
        return f"{text} that cannot be used ({first_lines(str(error))})"
    if text[0] in "/.":
        return f"{text} without @ in front of the file"
    return "that is no mapping of names to values"


def _refuse(found: Mapping[str, Any]) -> None:
    if _OURS in found:
        raise InventoryError(
            f"found {_OURS} in --extra-vars, needed --limit: it is for ansible-playbook; phi4-edge chooses hosts itself"
        )
    if "_raw_params" in found:
        raise InventoryError(
            f"found a word without = in --extra-vars; {_NEEDED}; a value with blanks has quotes of its own: "
            "-e \"name='two words'\""
        )


def documents_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Each of them as the text of a file that Ansible reads to the same variables; they have been read once before.

    So nothing of them is in the arguments of a program. Raises InventoryError for a file that cannot be read.
    """
    return tuple(_document(text) for text in texts if text)


def _document(text: str) -> str:
    from ansible.parsing.splitter import parse_kv

    if text.startswith("@"):
        return _file(text[1:])
    if text[0] in "[{":
        return text
    return json.dumps({str(key): str(value) for key, value in parse_kv(text).items()})


def _file(name: str) -> str:
    try:
        return documents.read(Path(os.path.expandvars(name)).expanduser(), MOST_BYTES).decode("utf-8")
    except ValueError as error:  # DocumentError is one, and so is text that is not UTF-8
        raise InventoryError(
            f"found --extra-vars @{name}: {error}; needed a file with JSON or YAML, which is read several times"
        ) from error
