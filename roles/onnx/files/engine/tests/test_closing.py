"""Objects are closed where nothing is said of other properties, and where no other schema names some."""

from __future__ import annotations

from typing import Any

import pytest
from schema_table import USUAL

from phi4_engine.closing import closed

A, B = {"properties": {"a": {}}}, {"properties": {"b": {}}}
CLOSED = {**A, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (A, CLOSED),
        ({"properties": {}}, {"properties": {}, "additionalProperties": False}),
        ({**A, "required": ["a"]}, {**CLOSED, "required": ["a"]}),
        ({"properties": {"o": A}}, {"properties": {"o": CLOSED}, "additionalProperties": False}),
        ({"items": A}, {"items": CLOSED}),
        ({"prefixItems": [A, True]}, {"prefixItems": [CLOSED, True]}),
        ({"anyOf": [A, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"additionalProperties": A}, {"additionalProperties": CLOSED}),
        (
            {"$ref": "#/$defs/a", "title": "A", "$defs": {"a": A}},
            {"$ref": "#/$defs/a", "title": "A", "$defs": {"a": CLOSED}},
        ),
    ],
)
def test_an_object_is_closed_where_it_stands(schema: dict[str, Any], wanted: dict[str, Any]) -> None:
    before = repr(schema)
    assert closed(schema) == wanted
    assert repr(schema) == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**A, "additionalProperties": True},
        {**A, "additionalProperties": {"type": "integer"}},
        {**A, "patternProperties": {"^x": {}}},
        {**A, "propertyNames": {"maxLength": 1}},
        {**A, "minProperties": 2},
        {**A, "required": ["b"]},
        {"allOf": [A, B]},
        {"properties": {"o": {"allOf": [A, B]}}},
        {**A, "anyOf": [B, {"required": ["c"]}]},
        {"$ref": "#/$defs/b", **A, "$defs": {"b": B}},
        {"anyOf": [A, B], "required": ["c"]},
        {"if": A, "then": B},
        {"not": A},
        {"items": A, "contains": B},
        {**A, "dependentSchemas": {"a": B}},
        {"enum": [{"properties": {"a": 1}}]},
        {"const": {"properties": {"a": 1}}},
        *(schema for name, schema in USUAL.items() if name != "recursion"),
    ],
)
def test_what_could_forbid_more_than_it_should_is_left_as_it_is(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema


def test_what_is_too_deep_is_left_as_it_is() -> None:
    deep: dict[str, Any] = A
    for _ in range(200):
        deep = {"items": deep}
    assert closed(deep) == deep


def test_what_is_none_is_left_to_those_who_say_so() -> None:
    for wrong in (
        {"properties": 7},
        {"properties": {"a": 7}},
        {**A, "required": 7},
        {**A, "required": [7]},
        {"anyOf": 7},
    ):
        assert closed(wrong).get("properties") == wrong.get("properties")
