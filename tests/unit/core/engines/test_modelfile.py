"""Variants in the inventory: what is taken, and how a mistake is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines.modelfile import BASE, MOST_VARIANTS, check
from phi4_edge.core.plan.overrides import SEED_VARIANTS, Overrides
from phi4_edge.errors import InventoryError

GOOD = {
    "mine": {
        "from": "phi4-mini-coder",
        "parameters": {"temperature": 1, "seed": 7, "stop": "END"},
        "system": "One.  \nTwo.\n",
    }
}


@pytest.mark.parametrize("value", [GOOD, json.dumps(GOOD)])
def test_a_mapping_or_its_text(value: Any) -> None:
    found = Overrides.from_vars("gw1", {"phi4_variants": value}).variants
    assert found == {
        "mine": {
            "from": "phi4-mini-coder",
            "parameters": {"temperature": 1.0, "seed": 7, "stop": ["END"]},
            "system": "One.\nTwo.",
        }
    }


def test_nothing_is_nothing() -> None:
    for value in ("", "{}", {}):
        assert Overrides.from_vars("gw1", {"phi4_variants": value}) == Overrides("gw1")


def test_names_here_are_those_of_the_catalog(catalog: Catalog) -> None:
    assert tuple(catalog.variants) == SEED_VARIANTS
    assert {model.served_name for model in catalog.models.values()} == {BASE}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("[1", "JSON text of one"),
        ([1], "a mapping of names"),
        ({"Mine": {}}, "names of small letters, .* found 'Mine'"),
        ({"a" * 62: {}}, "at most 61"),
        ({"../x": {}}, "names of small letters"),
        ({BASE: {}}, "another name than phi-4-mini-instruct"),
        ({"x": 3}, "x: a mapping with from, parameters, system"),
        ({"x": {"form": "y"}}, r"x: only from, parameters, system, found form \(did you mean from"),
        ({"x": {"from": "phi4-mini-codr"}}, r"x.from: .*found phi4-mini-codr \(did you mean phi4-mini-coder"),
        ({"x": {"from": 3}}, "x.from: phi-4-mini-instruct or the name"),
        ({"x": {"from": "y"}, "y": {"from": "x"}}, "without a circle, found x from y from x"),
        ({"x": {"from": "x"}}, "without a circle, found x from x"),
        ({"phi4-mini-coder": {"from": "x"}, "x": {"from": "phi4-mini-coder"}}, "without a circle"),
        ({"x": {"from": "phi4-mini-coder"}, "phi4-mini-coder": None}, "x.from: .*found phi4-mini-coder"),
        ({"x": {"parameters": []}}, None),
        ({"x": {"parameters": [1]}}, "x.parameters: a mapping"),
        ({"x": {"parameters": {"temprature": 1}}}, r"found temprature \(did you mean temperature"),
        ({"x": {"parameters": {"temperature": "hot"}}}, "parameters.temperature: a number from 0 to 5"),
        ({"x": {"parameters": {"temperature": True}}}, "parameters.temperature"),
        ({"x": {"parameters": {"temperature": float("nan")}}}, "parameters.temperature"),
        ({"x": {"parameters": {"top_k": 1.5}}}, "parameters.top_k: a whole number"),
        ({"x": {"parameters": {"num_ctx": 10**7}}}, "parameters.num_ctx"),
        ({"x": {"parameters": {"num_gpu": 1}}}, "found num_gpu"),
        ({"x": {"parameters": {"stop": [1]}}}, "parameters.stop: a text, or a list"),
        ({"x": {"parameters": {"stop": ["y" * 101]}}}, "parameters.stop: texts of 1 to 100"),
        ({"x": {"system": 3}}, "x.system: a text"),
        ({"x": {"system": "y" * 8001}}, "x.system: a text of at most 8000"),
        ({"x": {"system": "\x1b[31m"}}, "x.system: printable"),
        ({f"v{number}": {} for number in range(MOST_VARIANTS + 1)}, "at most 32 variants, found 33"),
    ],
)
def test_a_mistake_is_named(value: Any, named: str | None) -> None:
    if named is None:
        assert Overrides.from_vars("gw1", {"phi4_variants": value}).variants["x"] is not None
        return
    with pytest.raises(InventoryError, match=named) as raised:
        Overrides.from_vars("gw1", {"phi4_variants": value})
    assert str(raised.value).isprintable()


def test_a_long_way_to_the_model_is_no_circle() -> None:
    chain: dict[str, Any] = {f"v{number}": {"from": f"v{number + 1}"} for number in range(30)}
    assert len(check({**chain, "v30": {}}, {})) == 31
