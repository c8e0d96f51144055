"""The data that decides: resource table, catalog, CVE floors and the published JSON Schemas.

YAML is read here, at the edge; core takes plain data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from phi4_edge import content, documents
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.read import read as read_catalog
from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.errors import CatalogError

FOLDER = Path(__file__).parent
MOST_BYTES = 1024 * 1024
MOST_DEPTH, MOST_ALIASES = 40, 16
SCHEMAS = (
    "facts",
    "plan",
    "plans",
    "result",
    "event",
    "status",
    "verify",
    "bench",
    "prompts",
    "doctor",
    "rollout",
    "rollouts",
    "prune",
)


def load_table(path: Path | None = None) -> ResourceTable:
    """Return the resource table in `path` (ours by default); raises CatalogError."""
    return _own_table() if path is None else ResourceTable.from_data(_read(path))


def load_catalog(path: Path | None = None) -> Catalog:
    """Return the catalog in `path` (ours by default); raises CatalogError."""
    return _own_catalog() if path is None else read_catalog(_read(path), load_cve_floors(), load_bounds())


@cache
def _own_table() -> ResourceTable:
    """Read once in a process: it cannot change, and each plan asks for it."""
    return load_table(FOLDER / "resource_table.yml")


@cache
def _own_catalog() -> Catalog:
    """The same."""
    return load_catalog(FOLDER / "catalog.yml")


@cache
def load_bounds() -> dict[str, dict[str, list[int]]]:
    """Return the least and most of each number that an engine of ours is set to, by engine and variable."""
    files = {name: content.bounds(name) for name in ENGINES}
    return {name: _read(path) for name, path in files.items() if path.is_file()}


def load_cve_floors() -> dict[str, Any]:
    """Return the oldest version of each component that no known vulnerability forbids."""
    floors: dict[str, Any] = _read(FOLDER / "cve_floors.yml")
    return floors


def load_prompts(path: Path | None = None) -> tuple[Path, Any]:
    """Return the file of prompts for `verify` (ours by default) and its content; raises CatalogError."""
    found = path or FOLDER / "verify_prompts.yml"
    return found, _read(found)


@cache
def _schema_text(name: str) -> str:
    return (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")


def schema(name: str) -> dict[str, Any]:
    """Return the published JSON Schema of "facts" or "plan"; a fresh copy each time."""
    if name not in SCHEMAS:
        raise CatalogError(f"Found schema {name}, needed one of {', '.join(SCHEMAS)}.")
    loaded: dict[str, Any] = json.loads(_schema_text(name))
    return loaded


def _read(path: Path) -> Any:
    import yaml

    # libyaml's loader is ten times faster; both are safe loaders.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Strict(loader):  # type: ignore[misc]
        """Refuses a key given twice, where YAML would silently keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
            doubled = [key for index, key in enumerate(keys) if key in keys[:index]]
            if doubled:
                line = node.start_mark.line + 1
                raise CatalogError(f"{path.name}, line {line}: found {doubled[0]} twice, needed once. Remove one.")
            return super().construct_mapping(node, deep=deep)

    try:
        text = documents.read(path, MOST_BYTES).decode("utf-8")
        _must_be_plain(path.name, yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=Strict)  # noqa: S506
    except (documents.DocumentError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise CatalogError(f"{path.name}: {error}. Correct the file and run again.") from error


def _must_be_plain(name: str, events: Iterable[Any]) -> None:
    """Neither deep nor with many aliases: ten lines of them stand for a thousand million values."""
    depth = aliases = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        aliases += kind == "AliasEvent"
        if aliases > MOST_ALIASES or depth > MOST_DEPTH:
            needed = f"at most {MOST_ALIASES} aliases" if aliases > MOST_ALIASES else f"at most {MOST_DEPTH} levels"
            line = event.start_mark.line + 1
            raise CatalogError(f"{name}, line {line}: found more, needed {needed}. Write the values out, flat.")
