"""Every host in tests/fixtures/hosts through the program: drop a document there, get a test here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result
from referencing import Registry, Resource

from phi4_edge.data import SCHEMAS, schema

Invoke = Callable[..., Result]
HOSTS = sorted((Path(__file__).parents[1] / "fixtures" / "hosts").glob("*.json"))


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_the_expected_plan(invoke: Invoke, path: Path) -> None:
    expected = json.loads(path.read_text())["expected"]
    result = invoke("plan", "--facts", path, "--output", "json")
    document = json.loads(result.stdout)
    resources = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]
    jsonschema.Draft202012Validator(schema("plans"), registry=Registry().with_resources(resources)).validate(document)
    [plan] = document["plans"]
    plain = {name: value for name, value in expected.items() if name in plan and isinstance(value, str | int | bool)}
    assert plain
    assert {name: plan[name] for name in plain} == plain
    assert result.exit_code == (0 if expected["fits"] else 3)


@pytest.mark.parametrize("width", [80, 200])
def test_all_hosts_as_text_keep_to_the_width_and_to_harmless_characters(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = invoke("plan", "--facts", *HOSTS)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) > len(HOSTS)
    assert max(map(len, result.stdout.splitlines())) <= width
    assert result.stdout.isascii()
    assert not [char for char in result.stdout if (char < " " and char != "\n") or char == "\x7f"]
