"""Shared by the tests of core: the real data files, and the fixtures as documents to vary."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import EXTRA, Overrides
from phi4_edge.data import load_catalog, load_table
from tests.unit.core.fixture_hosts import Document, read
from tests.unit.core.held import whole

INPUTS = Inputs(
    {"phi-4-mini-instruct/onnx-int4": "c" * 64, "tiny/onnx-int4": "d" * 64},
    {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64},
)

# Of the same controller once it has made and fetched the rest.
WHOLE = whole(INPUTS.artifacts, INPUTS.runtimes)


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
        loaded: Document = copy.deepcopy(read(name))
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
        found = parse.parse(document)
        return decide(found, table, using, Overrides.from_vars(found.host, variables), inputs)

    return make


@pytest.fixture(scope="session")
def named(plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Like `plan`, by a controller that has all files: the release has its name."""
    return lambda document, **overrides: plan(document, WHOLE, **overrides)


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
