"""What Ansible's own programs say of inventories: `ansible_says.py VAULT_PASSWORD_FILE FOLDER SOURCE...`.

For each source FOLDER gets what `ansible-inventory --list` and `ansible all -m debug` print. They are called in forks
of one process, since their start is what takes the time.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# All variables of ours that a host has, evaluated as in a task.
OURS = "query('varnames', '^phi4_')"
EVALUATED = f"{{{{ dict({OURS} | zip(query('vars', *{OURS}))) }}}}"


def main(password: str, folder: str, *sources: str) -> None:
    """Raises SystemExit where a program cannot be imported."""
    from ansible.cli.adhoc import AdHocCLI
    from ansible.cli.inventory import InventoryCLI
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    # Where its plugins are is 370 KB of YAML, which each fork would parse for itself.
    importlib.import_module("ansible_collections.ansible.builtin")
    for source in sources:
        common = ["--inventory", source, "--vault-password-file", password]
        name = Path(folder) / Path(source).name
        _forked(InventoryCLI, ["ansible-inventory", *common, "--list"], name.with_name(f"{name.name}.list"))
        debug = ["all", "--connection", "local", "--one-line", "-m", "debug", "-a", f"msg={EVALUATED}"]
        _forked(AdHocCLI, ["ansible", *common, *debug], name.with_name(f"{name.name}.debug"))


def _forked(program: Callable[[list[str]], Any], argv: list[str], output: Path) -> None:
    child = os.fork()
    if not child:
        with output.open("w", encoding="utf-8") as stream:
            os.dup2(stream.fileno(), 1)
            status = program(argv).run()
            sys.stdout.flush()
        os._exit(int(status or 0))
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{argv}: status {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
