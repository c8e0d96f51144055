"""Every document in tests/fixtures/hosts is a test: drop a JSON, get a test.

`expected` is compared with the plan: objects as subsets; lists of texts as fragments that must occur;
`absent` as fragments that must not; `gpus` as their number; `printable` that nothing reaches a terminal.
`overrides` are phi4_* variables of the host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table, schema

HOSTS = sorted((Path(__file__).parents[3] / "fixtures" / "hosts").glob("*.json"))
INPUTS = Inputs({}, {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64})


def planned(document: Mapping[str, Any]) -> tuple[parse.HostFacts, Plan]:
    found = parse.parse(document)
    overrides = Overrides.from_vars(found.host, document.get("overrides", {}))
    return found, decide(found, load_table(), load_catalog(), overrides, INPUTS)


def compare(expected: Any, found: Any, where: str) -> None:
    if isinstance(expected, dict):
        for key, value in expected.items():
            compare(value, found[key], f"{where}.{key}")
    elif isinstance(expected, list):
        text = json.dumps(found, ensure_ascii=False)
        for fragment in expected:
            assert fragment in text, f"{where} has no {fragment!r}: {text}"
    else:
        assert found == expected, where


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_a_host_gets_the_plan_that_its_fixture_expects(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    found, plan = planned(document)
    expected = dict(document["expected"])
    text = json.dumps([plan.to_dict(), found.to_dict()], ensure_ascii=False)
    for fragment in expected.pop("absent", []):
        assert fragment not in text
    assert len(found.nvidia.gpus) == expected.pop("gpus", len(found.nvidia.gpus))
    expected.pop("printable", None)
    compare(expected, plan.to_dict(), path.stem)


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_plans_facts_and_documents_are_valid_plain_and_printable(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    found, plan = planned(document)
    jsonschema.Draft202012Validator(schema("plan")).validate(plan.to_dict())
    if not document["expected"].get("printable"):
        jsonschema.Draft202012Validator(schema("facts")).validate(document)
    text = json.dumps([plan.to_dict(), found.to_dict()], ensure_ascii=False)
    assert text.isprintable()
    assert len(text) < 64 * 1024
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))).to_dict() == plan.to_dict()


def test_the_reference_hosts_are_all_there() -> None:
    reference = {
        "pi4-4gb", "n150-8gb", "gateway-6gb", "xeon-rtx3060-driver570", "workstation-rtx4090-driver580",
        "gtx1060-6gb", "jetson-orin-nano-8gb", "rtx3060-no-driver", "gateway-2gb", "disk-5gb", "armv7-board",
        "container-6gb-of-24gb",
    }  # fmt: skip
    assert reference <= {path.stem for path in HOSTS}


@pytest.mark.parametrize("name", ["plan", "facts"])
def test_published_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
