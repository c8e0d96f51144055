"""What a schema says of a value, held against the library that knows all of JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.inference import arguments

pytestmark = pytest.mark.usefixtures("believed")

NUMBER = {"type": "number"}
OBJECT = {"type": "object", "properties": {"a": NUMBER}, "required": ["a"], "additionalProperties": False}
KINDS = ["object", "array", "string", "number", "integer", "boolean", "null"]

keys = st.sampled_from("abc")
# Few of them, so that a schema's value and a host's are often the same or nearly so: 1 and 1.0 and true.
scalars = st.sampled_from([None, True, False, 0, 1, -1, 2, 0.0, 1.0, 1.5, "", "a", "b"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
simple: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True),
    "enum": st.lists(values, min_size=1, max_size=3),
    "const": values,
    "minimum": st.sampled_from([-1, 0, 0.5, 1]),
    "maximum": st.sampled_from([-1, 0, 0.5, 1]),
}


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    more = {
        "properties": st.dictionaries(keys, inner, max_size=3),
        "required": st.lists(keys, max_size=2, unique=True),
        "additionalProperties": st.booleans(),
        "items": inner,
    }
    return st.fixed_dictionaries({}, optional=simple | more)


schemas = st.recursive(st.fixed_dictionaries({}, optional=simple), nested, max_leaves=6)
others = st.fixed_dictionaries(
    {},
    optional={
        "prefixItems": st.lists(schemas, min_size=1, max_size=2),
        "patternProperties": st.just({"^a": {}}),
        "anyOf": st.lists(schemas, min_size=1, max_size=2),
        "not": schemas,
        "uniqueItems": st.just(True),
    },
)


def valid(value: object, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@given(schemas, values)
def test_it_judges_as_the_library_does(schema: dict[str, Any], value: object) -> None:
    assert (arguments.problem(value, schema) == "") == valid(value, schema)


@given(schemas, others, values)
def test_it_blames_nobody_for_what_it_does_not_know(
    schema: dict[str, Any], other: dict[str, Any], value: object
) -> None:
    if arguments.problem(value, schema | other):
        assert not valid(value, schema | other)


@pytest.mark.parametrize(
    ("value", "schema", "wrong"),
    [
        ({"a": 1}, OBJECT, ""),
        ({"a": 1.5}, OBJECT, ""),
        ({"a": True}, OBJECT, "arguments.a: found boolean, needed number"),
        ({"a": None}, OBJECT, "arguments.a: found null"),
        ({"a": 1, "b": 2}, OBJECT, "arguments: b is not one of a"),
        ({}, OBJECT, "arguments: a is missing"),
        ([1], OBJECT, "arguments: found array, needed object"),
        (2.0, {"type": "integer"}, ""),
        (2.5, {"type": "integer"}, "found number, needed integer"),
        ("x", {"type": ["string", "null"]}, ""),
        ("x", {"enum": ["y"]}, "found 'x', needed one of ['y']"),
        (True, {"enum": [1, 2]}, "found True, needed one of [1, 2]"),
        ([True], {"const": [1]}, "found array, needed one of [[1]]"),
        (2, {"enum": [1, 2], "const": 1}, "found 2, needed one of [1]"),
        (3, {"minimum": 4}, "needed 4 or more"),
        (5, {"maximum": 4}, "needed 4 or less"),
        ([1, "x"], {"items": NUMBER}, "arguments[1]: found string"),
        (["x", 1, "y"], {"prefixItems": [{"type": "string"}], "items": NUMBER}, "arguments[2]: found string"),
        ({"anything": 1}, {}, ""),
    ],
)
def test_arguments_are_held_against_the_tools_schema(value: object, schema: dict[str, Any], wrong: str) -> None:
    found = arguments.problem(value, schema)
    assert wrong in found
    assert bool(found) == bool(wrong)
    assert valid(value, schema) == (not wrong)


@pytest.mark.parametrize("required", [5, "a", [["a"]], None])
def test_a_schema_that_is_none_ends_no_exchange(required: object) -> None:
    assert arguments.problem({"b": 1}, {"type": "object", "required": required}) == ""


def test_no_value_takes_long_whatever_the_schema_refers_to() -> None:
    """For the library each level of this value takes twice as long as the one before."""

    def node(name: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"op": {"const": name}, "left": {"$ref": "#/$defs/node"}}}

    schema = {"$ref": "#/$defs/node", "$defs": {"node": {"anyOf": [NUMBER, node("add"), node("mul")]}}}
    value: Any = 1
    for _ in range(200):
        value = {"op": "mul", "left": value}
    assert arguments.problem(value, schema) == ""
    for loop in ({"$ref": "#"}, {"pattern": r"^(\w+\s?)*$"}, {"uniqueItems": True}, {"$ref": "http://127.0.0.1:9/"}):
        assert arguments.problem("a" * 5000 + "!", loop) == ""


def test_a_value_as_deep_as_json_may_be_is_named_in_a_few_words() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    assert arguments.problem(deep, {"enum": ["x", [[1]]]}) == "arguments: found array, needed one of ['x', [[1]]]"
