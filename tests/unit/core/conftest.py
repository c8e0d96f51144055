"""Shared by the tests of core: the real data files, and the fixtures as documents to vary."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core import facts
from phi4_edge.core.catalog import Catalog
from phi4_edge.core.overrides import EXTRA, Overrides
from phi4_edge.core.plan import Inputs, Plan, decide
from phi4_edge.core.table import ResourceTable
from phi4_edge.data import load_catalog, load_table

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
INPUTS = Inputs(
    {"phi-4-mini-instruct/onnx-int4": "c" * 64, "tiny/onnx-int4": "d" * 64},
    {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64},
)

Document = dict[str, Any]


@pytest.fixture(scope="session")
def table() -> ResourceTable:
    return load_table()


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def document() -> Callable[..., Document]:
    """A fixture's document with sources replaced: text, a whole entry, or None to take the source away."""

    def load(name: str, **sources: Any) -> Document:
        loaded: Document = copy.deepcopy(_read(name))
        for source, value in sources.items():
            loaded["sources"].pop(source, None)
            if value is not None:
                loaded["sources"][source] = {"text": value} if isinstance(value, str) else value
        return loaded

    return load


@pytest.fixture(scope="session")
def plan(table: ResourceTable, catalog: Catalog) -> Callable[..., Plan]:
    """The plan for a document under overrides given without their prefix; `using` another catalog."""

    def make(document: Document, inputs: Inputs = INPUTS, using: Catalog = catalog, **overrides: Any) -> Plan:
        variables = {name if name in EXTRA else f"phi4_{name}": value for name, value in overrides.items()}
        found = facts.parse(document)
        return decide(found, table, using, Overrides.from_vars(found.host, variables), inputs)

    return make


@pytest.fixture(scope="session")
def pinned(catalog: Catalog) -> Catalog:
    """The catalog as if the revision of every checkpoint were known."""
    models = {
        name: dataclasses.replace(
            model, checkpoints={key: {**source, "revision": "a" * 40} for key, source in model.checkpoints.items()}
        )
        for name, model in catalog.models.items()
    }
    return dataclasses.replace(catalog, models=models)


_CACHE: dict[str, Document] = {}


def _read(name: str) -> Document:
    if name not in _CACHE:
        _CACHE[name] = json.loads((HOSTS / f"{name}.json").read_text(encoding="utf-8"))
    return _CACHE[name]
