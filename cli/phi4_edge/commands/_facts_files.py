"""Reads facts documents from files and `--set` values from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from phi4_edge.core.overrides import EXTRA
from phi4_edge.errors import FactsError
from phi4_edge.rollout.planning import Planned, Planner, Seen

# Larger than any honest document (the probe bounds its own to 4 MiB) times a fleet in JSON Lines.
MAX_BYTES = 512 * 1024 * 1024


def read(files: Sequence[str], variables: Mapping[str, Any]) -> list[Seen]:
    """Every document of the files, one per host; '-' is stdin. Raises FactsError that names the file."""
    seen: list[Seen] = []
    names: dict[str, str] = {}
    for name in files:
        for document in _documents(name):
            host = document.get("host")
            host = host if isinstance(host, str) and host else ("stdin" if name == "-" else Path(name).stem)
            if host in names:
                raise FactsError(f"{name}: host {host} is in {names[host]} already; give each host once")
            names[host] = name
            seen.append(Seen(host, document, variables))
    return seen


def decide(planner: Planner, seen: Seen) -> Planned:
    """The plan for one document and its facts. Raises FactsError that names the host when they are not enough."""
    try:
        return planner.decide(seen)
    except FactsError as error:
        raise FactsError(f"{seen.host}: {error}") from error


def _documents(name: str) -> list[Mapping[str, Any]]:
    text = _text(name)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _lines(name, text)
    documents = found if isinstance(found, list) else [found]
    if not documents:
        raise FactsError(f"{name}: an empty list; give the output of phi4-edge detect --raw")
    for document in documents:
        if not isinstance(document, dict):
            raise FactsError(
                f"{name}: found a JSON {type(document).__name__}, needed a facts document; make one with: "
                "phi4-edge detect INVENTORY --limit HOST --raw"
            )
    return documents


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read(MAX_BYTES) if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise FactsError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FactsError(f"{name}: not UTF-8 text, so not JSON; give the output of phi4-edge detect --raw") from error


def _lines(name: str, text: str) -> list[Any]:
    """The documents of a JSON Lines file, as `detect --raw` writes for several hosts."""
    documents = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            deep = "nested too deep" if isinstance(error, RecursionError) else "a number that is too long"
            reason = error.msg if isinstance(error, json.JSONDecodeError) else deep
            raise FactsError(
                f"{name}: not JSON (line {number}: {reason}); give the output of phi4-edge detect --raw"
            ) from error
    if not documents:
        raise FactsError(f"{name}: empty; give the output of phi4-edge detect --raw")
    return documents


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """`--set` pairs as variables; the values are text, as those of an INI inventory are."""
    variables: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not (key.strip().startswith("phi4_") or key.strip() in EXTRA):
            raise click.UsageError(f"--set {pair}: needed phi4_NAME=VALUE, for example --set phi4_port=9000")
        variables[key.strip()] = value.strip()
    return variables
