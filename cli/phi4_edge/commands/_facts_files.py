"""Reads facts documents from files and `--set` values from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from phi4_edge import documents
from phi4_edge.core.plan.overrides import EXTRA
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError
from phi4_edge.operations.facts import looked_at
from phi4_edge.operations.plan import Planned, Planner, Seen

# Of all files together. A host's document has 5 to 30 KB, the probe bounds it to 4 MiB.
MOST_BYTES = 48 * 1024 * 1024
MOST_HOSTS = 5000
_AGAIN = "give the output of phi4-edge detect --raw"


def read(files: Sequence[str], variables: Mapping[str, Any]) -> list[Seen]:
    """Every document of the files, one per host; '-' is stdin. Raises FactsError that names the file."""
    seen: list[Seen] = []
    names: dict[str, str] = {}
    left = MOST_BYTES
    for name in files:
        try:
            raw = documents.read_stdin(left) if name == "-" else documents.read(name, left)
        except documents.DocumentError as error:
            raise FactsError(f"{name}: {error}; {_AGAIN}, for fewer hosts or in a file, or pipe it into -") from error
        left -= len(raw)
        for document in _documents(name, raw):
            host = document.get("host")
            host = host if isinstance(host, str) and host else ("stdin" if name == "-" else Path(name).stem)
            if host in names:
                raise FactsError(f"{name}: host {clean(host)} is in {names[host]} already; give each host once")
            names[host] = name
            # Where it was looked at is where it would be installed, unless something else is said.
            seen.append(Seen(host, document, {**looked_at(document), **variables}))
            if len(seen) > MOST_HOSTS:
                raise FactsError(f"{name}: found more than {MOST_HOSTS} hosts; give fewer at once")
    return seen


def decide(planner: Planner, seen: Seen) -> Planned:
    """The plan for one document and its facts. Raises FactsError that names the host when they are not enough."""
    try:
        return planner.decide(seen)
    except FactsError as error:
        raise FactsError(f"{seen.host}: {error}") from error


def _documents(name: str, raw: bytes) -> list[Mapping[str, Any]]:
    try:
        found = documents.parse(raw)
    except documents.DocumentError as error:
        if raw.strip() and "Extra data" not in str(error):  # else one document after another
            raise FactsError(f"{name}: {error}; {_AGAIN}") from error
        found = _lines(name, raw)
    several = found if isinstance(found, list) else [found]
    if not several:
        raise FactsError(f"{name}: an empty list; {_AGAIN}")
    for document in several:
        if not isinstance(document, dict):
            raise FactsError(
                f"{name}: found a JSON {type(document).__name__}, needed a facts document; make one with: "
                "phi4-edge detect INVENTORY --limit HOST --raw"
            )
    return several


def _lines(name: str, raw: bytes) -> list[Any]:
    """The documents of a JSON Lines file, as `detect --raw` writes for several hosts."""
    found = []
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(documents.parse(line))
        except documents.DocumentError as error:
            raise FactsError(f"{name}, line {number}: {error}; {_AGAIN}") from error
    if not found:
        raise FactsError(f"{name}: empty; {_AGAIN}")
    return found


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """`--set` pairs as variables; the values are text, as those of an INI inventory are."""
    variables: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not (key.strip().startswith("phi4_") or key.strip() in EXTRA):
            raise click.UsageError(f"--set {pair}: needed phi4_NAME=VALUE, for example --set phi4_port=9000")
        variables[key.strip()] = value.strip()
    return variables
