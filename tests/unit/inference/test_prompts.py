"""The prompts as data: ours, and what is said of a file that is not as it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phi4_edge.data import load_prompts, schema
from phi4_edge.errors import CatalogError
from phi4_edge.inference.prompts import choose, parse

pytestmark = pytest.mark.usefixtures("believed")

OURS = parse(load_prompts()[1], "verify_prompts.yml")
AREA = {"description": "Area", "parameters": {"type": "object"}}
GOOD: dict[str, Any] = {"category": "math", "prompt": "1 + 1?", "max_tokens": 20}


def file(change: dict[str, Any], offered: dict[str, Any] | None = None) -> dict[str, Any]:
    """A file with one prompt, that `change` alters; None takes a field away."""
    prompt = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    return {"format": "phi4-edge/prompts/1", "tools": offered or {"area": AREA}, "prompts": {"p": prompt}}


def test_ours_ask_for_all_that_the_model_is_for() -> None:
    asked = [(prompt.name, prompt.category, prompt.max_tokens, prompt.temperature) for prompt in OURS]
    assert asked == [
        ("train", "math", 200, 0.3),
        ("car", "math", 150, 0.3),
        ("fibonacci", "code", 300, 0.5),
        ("gcd", "code", 250, 0.5),
        ("circle", "tools", 200, 0.0),
        ("cats", "logic", 200, 0.3),
    ]
    (circle,) = [prompt for prompt in OURS if prompt.tools]
    assert (circle.tools[0].name, circle.tool_choice, circle.ways) == ("calculate_circle_area", "auto", (True, False))


def test_our_file_and_the_published_schema_agree() -> None:
    jsonschema.Draft202012Validator.check_schema(schema("prompts"))
    jsonschema.Draft202012Validator(schema("prompts")).validate(load_prompts()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"promt": "x"}, r"prompts\.p: found unknown field promt.*prompt"),
        ({"prompt": None}, r"prompts\.p\.prompt: found nothing, needed a text"),
        ({"prompt": 7}, r"prompts\.p\.prompt: found 7, needed a text"),
        ({"category": None}, r"prompts\.p\.category: found nothing"),
        ({"max_tokens": 0}, r"max_tokens: found 0, needed a whole number from 1"),
        ({"max_tokens": "many"}, r"max_tokens: found 'many'"),
        ({"max_tokens": 200_000}, r"max_tokens: found 200000"),
        ({"temperature": 3}, r"temperature: found 3, needed a number from 0 to 2"),
        ({"temperature": "hot"}, r"temperature: found 'hot'"),
        ({"tools": ["volume"]}, r"tools: found list, needed names from the file's tools \(area\), not volume"),
        ({"tools": "area"}, r"tools: found 'area', needed a list of texts"),
        (
            {"tools": ["area"], "tool_choice": "volume"},
            r"tool_choice: found 'volume', needed one of auto, required, none, area",
        ),
    ],
)
def test_a_wrong_field_is_named_and_the_schema_refuses_it_too(change: dict[str, Any], message: str) -> None:
    data = file(change)
    with pytest.raises(CatalogError, match=message) as caught:
        parse(data, "mine.yml")
    assert str(caught.value).startswith("mine.yml")
    if "not volume" not in message and "tool_choice" not in message:  # what refers to another place no schema can see
        assert not jsonschema.Draft202012Validator(schema("prompts")).is_valid(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "mine.yml: found nothing, needed a mapping"),
        (["x"], "mine.yml: found list"),
        ({"prompts": {}}, "format: found nothing, needed phi4-edge/prompts/1"),
        ({"format": "phi4-edge/prompts/1", "prompts": {}}, "needed at least one prompt"),
        ({**file({}), "tool": {}}, "unknown field tool"),
        (file({}, {"area": {"description": "Area"}}), "tools.area.parameters: found nothing"),
        (file({}, {"area": {"description": "Area", "parameters": {"type": "string"}}}), "needed object"),
    ],
)
def test_a_wrong_file_is_refused(data: object, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        parse(data, "mine.yml")


@pytest.mark.parametrize("text", ["{const: 2024-01-01}", "{minimum: .nan}", "&own {properties: *own}"])
def test_parameters_that_no_request_can_hold_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yml").write_text(f"properties: {{a: {text}}}")
    _, read = load_prompts(tmp_path / "mine.yml")
    data = file({}, {"area": {"description": "Area", "parameters": {"type": "object", **read}}})
    with pytest.raises(CatalogError, match=r"tools\.area\.parameters: found dict, needed what JSON can hold"):
        parse(data, "mine.yml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("prompts: [")
    with pytest.raises(CatalogError, match=r"mine\.yml"):
        load_prompts(tmp_path / "mine.yml")
    with pytest.raises(CatalogError, match="No such file"):
        load_prompts(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ([], ["train", "car", "fibonacci", "gcd", "circle", "cats"]),
        (["math"], ["train", "car"]),
        (["logic", "code"], ["fibonacci", "gcd", "cats"]),
        (["gcd", "tools"], ["gcd", "circle"]),
    ],
)
def test_prompts_are_chosen_by_name_or_category_in_the_files_order(only: list[str], names: list[str]) -> None:
    assert [prompt.name for prompt in choose(OURS, only)] == names


def test_an_unknown_word_gets_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"no prompt or category maths.*math"):
        choose(OURS, ["maths"])


def test_answers_can_be_kept_short() -> None:
    assert {prompt.max_tokens for prompt in choose(OURS, [], 180)} == {180, 150}


def test_a_named_tool_is_asked_for_in_the_form_of_the_api() -> None:
    (prompt,) = parse(file({"tools": ["area"], "tool_choice": "area"}), "f")
    request = prompt.request("m", stream=False)
    assert request["tool_choice"] == {"type": "function", "function": {"name": "area"}}
    assert "temperature" not in request
    assert "stream_options" not in request
