"""An inventory made ready to be used on another machine: resolved by Ansible here, with the files that ssh needs of it.

What is sent is data, so plugins and executable sources run on the controller only. Templates stay templates, what a
vault holds stays encrypted.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge import documents
from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner.environment import PRIVATE, scrub
from phi4_edge.runner.private import private_directory
from phi4_edge.runner.run import place, vault_options

FILES = "files"
_MOST_BYTES = 8 * 1024 * 1024  # of a key, or of a list of the host keys of a large fleet
_KEYS = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
_OPTIONS = frozenset({"userknownhostsfile", "globalknownhostsfile", "identityfile", "certificatefile"})
_FLAGS = frozenset({"-i", "-F"})


@dataclass(frozen=True)
class Portable:
    """An inventory as text, and the files that it names, by their name below the private directory of the run."""

    text: str = field(repr=False)
    files: Mapping[str, str] = field(repr=False)


def portable(
    inventory: Sequence[str],
    settings: Mapping[str, Mapping[str, str]],
    vaults: Sequence[VaultSecret] = (),
    operator_vars: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Portable:
    """The inventory with every variable of every host, for a machine that has none of its files.

    `settings`: by host, variables that are known by their value and replace the inventory's template. Private keys and
    lists of host keys that the hosts' variables name and that are here go along; other paths mean the other machine's
    own. Raises RunnerError when Ansible cannot read the inventory.
    """
    listed = _listed(inventory, vaults, operator_vars, os.environ if environ is None else environ)
    hosts = listed.pop("_meta", {}).get("hostvars", {})
    luggage = _Luggage()
    groups: dict[str, Any] = {
        name: {
            "hosts": dict.fromkeys(group.get("hosts") or (), None),
            "children": dict.fromkeys(group.get("children") or (), None),
        }
        for name, group in listed.items()
    }
    everyone = dict.fromkeys([*hosts, *(name for group in groups.values() for name in group["hosts"])])
    known = {name: _variables(hosts.get(name) or {}, settings.get(name) or {}, luggage) for name in everyone}
    groups.setdefault("all", {"hosts": {}, "children": {}})["hosts"] = known
    return Portable(_yaml(groups), {f"{FILES}/{name}": text for name, text in luggage.files.items()})


def opened(vault: VaultSecret) -> VaultSecret:
    """The secret with its password: typed, in its file, or what its program prints, which is called as Ansible does."""
    return vault if vault.password is not None else VaultSecret(vault.label, "", _secret(vault))


def _secret(vault: VaultSecret) -> str:
    path = Path(vault.path).expanduser().absolute()
    # Ansible tells a program that is called so which password is meant.
    more = ["--vault-id", vault.label] if vault.label and path.stem.endswith("-client") else []
    try:
        if os.access(path, os.X_OK):
            env = scrub(os.environ)
            done = subprocess.run([path, *more], capture_output=True, text=True, check=True, timeout=60, env=env)
            return done.stdout.strip()
        return documents.read(path, _MOST_BYTES).decode("utf-8").strip()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise RunnerError(f"found no password in {path} ({error}), needed that of the vault") from error


def _listed(
    inventory: Sequence[str], vaults: Sequence[VaultSecret], operator_vars: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    argv = [str(Path(sys.executable).parent / "ansible-inventory"), "--list"]
    for source in inventory:
        argv += ["--inventory", source if "," in source else str(Path(source).expanduser().absolute())]
    identities, files = vault_options(vaults, Path.cwd())
    files |= {f"operator_vars_{number}.yml": text for number, text in enumerate(operator_vars)}
    argv += [*identities, *(f"--extra-vars=@{PRIVATE}/{name}" for name in files if name.endswith(".yml"))]
    # With "export" variables of groups would stay with the groups, which this does not read.
    env = {**scrub(environ), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_EXPORT": "False"}
    with private_directory(files) as private:
        placed = [place(word, private) for word in argv]
        done = subprocess.run(placed, capture_output=True, text=True, check=False, env=env)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise RunnerError(f"ansible-inventory could not read the inventory:\n{done.stderr.strip()[-2000:]}") from error
    if done.returncode or not isinstance(found, dict):
        raise RunnerError(f"ansible-inventory could not read the inventory:\n{done.stderr.strip()[-2000:]}")
    return found


class _Luggage:
    """Files that go along, each once."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._names: dict[Path, str] = {}

    def place(self, text: str) -> str:
        """Where the file `text` will be; `text` itself when it is no readable text file here."""
        path = Path(text).expanduser().absolute()
        if path not in self._names:
            try:
                content = documents.read(path, _MOST_BYTES).decode("utf-8")
            except ValueError:  # no such file, or none that is text
                content = None
            if content is None:
                return text
            self._names[path] = str(len(self._names))
            self.files[self._names[path]] = content
        return f"{PRIVATE}/{FILES}/{self._names[path]}"


def _variables(raw: Mapping[str, Any], settings: Mapping[str, str], luggage: _Luggage) -> dict[str, Any]:
    variables = {name: value for name, value in raw.items() if name != "ansible_local"}
    variables |= {name: value for name, value in settings.items() if value}
    for name in _KEYS:
        if isinstance(path := variables.get(name), str) and path:
            variables[name] = luggage.place(path)
    for name in _ARGUMENTS:
        if isinstance(text := variables.get(name), str) and text:
            variables[name] = _arguments(text, luggage)
    return variables


def _arguments(text: str, luggage: _Luggage) -> str:
    """Arguments of ssh with the files that they name put where they will be."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text  # Ansible itself says what is wrong with it
    placed = [_word(before, word, luggage) for before, word in zip(["", *words], words, strict=False)]
    return shlex.join(placed) if placed != words else text


def _word(before: str, word: str, luggage: _Luggage) -> str:
    """One argument, which stands behind `before`."""
    bare = word[2:] if word.startswith("-o") and len(word) > 2 else word
    option, sign, value = bare.partition("=")
    if before in _FLAGS:
        return luggage.place(word)
    if sign and option.strip().lower() in _OPTIONS and (before == "-o" or bare != word):
        paths = " ".join(_quoted(luggage.place(path)) for path in _paths(value))
        return f"{word[: len(word) - len(bare)]}{option}={paths}"
    return word


def _paths(value: str) -> list[str]:
    """The paths of an option's value, which OpenSSH splits at blanks unless they are quoted."""
    try:
        return shlex.split(value)
    except ValueError:
        return [value]


def _quoted(path: str) -> str:
    return f'"{path}"' if any(map(str.isspace, path)) else path


def _yaml(value: Any) -> str:
    """JSON as YAML, in which a vault's text and text that is no template keep their marks."""
    if isinstance(value, Mapping):
        for key, mark in (("__ansible_vault", "!vault"), ("__ansible_unsafe", "!unsafe")):
            if set(value) == {key}:
                return f"{mark} {json.dumps(value[key])}"
        return "{" + ", ".join(_pairs(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return json.dumps(value)


def _pairs(items: Iterable[tuple[Any, Any]]) -> Iterable[str]:
    for key, item in items:
        yield f"{json.dumps(str(key))}: {_yaml(item)}"
