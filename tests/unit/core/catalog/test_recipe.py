"""Recipes in the catalog: what is read and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.catalog.fields import Row
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.recipe import Recipe, read_recipe
from phi4_edge.errors import CatalogError


def test_a_recipe_is_read() -> None:
    assert read_recipe(Row("x", {"block_size": 64, "method": "default"})) == Recipe(64, "default", False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block_size": 48}, "block_size: found 48, needed one of 32, 64, 128"),
        ({"method": "gptq"}, "method: found 'gptq', needed one of default, k_quant"),
        ({"on_request": "yes"}, "on_request: found 'yes', needed true or false"),
        ({"bits": 4}, "unknown field bits"),
    ],
)
def test_what_the_builder_does_not_know_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_recipe(Row("x", {"block_size": 32, "method": "default", **wrong}))


def test_the_weights_are_the_bits_of_a_number_and_its_share_of_scale_and_zero_point(catalog: Catalog) -> None:
    variants = {name: one for name, one in catalog.engines["onnx"].variants.items() if one.recipe}
    assert [name for name, one in variants.items() if one.recipe and not one.recipe.on_request] == ["int4"]
    bits = {"int4": 5.0, "int4_b64": 4.5, "int4_b128": 4.25, "int4_k": 5.125}
    counted = {name: one.weights * 8 / catalog.shape("tiny").parameters for name, one in variants.items()}
    assert counted == pytest.approx(bits, rel=0.002)
