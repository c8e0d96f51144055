"""The scripts that run on hosts, with the modules of ours that they import there."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from phi4_edge import content

# Modules that all roles share. Their names begin with `host`: they are top-level modules on the host, where a
# `time.py` of ours would hide Python's.
SHARED = Path(__file__).resolve().parent / "host"
# Says who has a port: over ssh a program of its own, over Ansible a module of the script that asks.
RELAY = Path(__file__).resolve().parent.parent / "ssh" / "relay.py"


def host_script(role: str, name: str) -> tuple[str, dict[str, str]]:
    """Text of `roles/<role>/files/<name>.py`, and of each module of ours that it needs."""
    folders = (content.roles() / role / "files", SHARED)
    script = (folders[0] / f"{name}.py").read_text(encoding="utf-8")
    modules: dict[str, str] = {}
    _collect(script, folders, modules)
    return script, modules


@functools.lru_cache(maxsize=32)
def composed(role: str, name: str) -> str:
    """The script of a role as one text, behind the modules that it needs."""
    return compose(*host_script(role, name))


@functools.lru_cache(maxsize=8)
def composed_series(names: tuple[tuple[str, str], ...]) -> str:
    """The scripts that are named by role and name, as one text that runs a series of them: see hostseries."""
    scripts: dict[str, str] = {}
    modules: dict[str, str] = {}
    for role, name in names:
        scripts[f"{role}/{name}"], needed = host_script(role, name)
        clash = [module for module, text in needed.items() if modules.setdefault(module, text) != text]
        if clash:
            raise ValueError(f"two roles have a module {clash[0]}")
    main = f"import hostseries\nhostseries.run(globals(), {scripts!r})\n"
    _collect(main, (SHARED,), modules)
    return compose(main, modules)


def compose(script: str, modules: Mapping[str, str]) -> str:
    """One script in which `import <name>` finds each of `modules` (name → source text) without any file.

    A module is compiled when it is imported, so one that a function imports costs nothing where that does not run.
    """
    # `from __future__` must be the first statement of what is compiled, so the script is compiled on its own too.
    return f"{_FINDER}_sys.meta_path.insert(0, _Ours({dict(modules)!r}))\n{_run(script)}"


_FINDER = """\
import sys as _sys
class _Ours:
    def __init__(self, texts):
        self.texts = texts
    def find_spec(self, name, path=None, target=None):
        return type(_sys.__spec__)(name, self) if name in self.texts else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(self.texts[module.__name__], module.__name__ + ".py", "exec"), module.__dict__)
"""


def _run(script: str) -> str:
    return f"exec(compile({script!r}, 'phi4-edge-script.py', 'exec'))\n"


def _collect(text: str, folders: tuple[Path, ...], modules: dict[str, str]) -> None:
    """`modules` holds every module of `folders` that `text` imports, also within its functions."""
    for module in re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE):
        places = [*(folder / f"{module}.py" for folder in folders), *([RELAY] if module == RELAY.stem else [])]
        path = next((place for place in places if place.is_file()), None)
        if path is not None and module not in modules:
            modules[module] = source = path.read_text(encoding="utf-8")
            _collect(source, folders, modules)
