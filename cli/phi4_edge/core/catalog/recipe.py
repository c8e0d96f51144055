"""How a checkpoint is quantized for ONNX: what the model builder is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.catalog.fields import Row

BLOCK_SIZES = (32, 64, 128)
METHODS = ("default", "k_quant")


@dataclass(frozen=True, slots=True)
class Recipe:
    """int4, with one scale for each `block_size` numbers of a row, rounded by `method`.

    `default` rounds to the nearest of 16 symmetric values; `k_quant` searches for the scale and zero point that lose
    least, as llama.cpp's K-quants do. `on_request`: only for those who ask for it by name. `long_rope`: with LongRoPE's
    long factors at every length, which is right above 4096 tokens too.
    """

    block_size: int
    method: str
    on_request: bool
    long_rope: bool = False


def read_recipe(row: Row) -> Recipe:
    """Return the recipe that `row` describes; raises CatalogError that names the field."""
    row.only("block_size", "method", "on_request")
    if row.integer("block_size") not in BLOCK_SIZES:
        row.fail("block_size", f"one of {', '.join(map(str, BLOCK_SIZES))}")
    if row.text("method") not in METHODS:
        row.fail("method", f"one of {', '.join(METHODS)}")
    return Recipe(row.integer("block_size"), row.text("method"), row.flag("on_request", False))
