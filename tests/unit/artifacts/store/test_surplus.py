"""What of a store goes and what stays: decided from what was found, without a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from phi4_edge.artifacts.store.stock import Item
from phi4_edge.artifacts.store.surplus import Rules, judge

NOTHING: Mapping[str, object] = MappingProxyType({})
NOW = 1_000_000.0
RULES = Rules({"tiny/onnx-int4": "R2", "wheels-1": "R2", "sha256:aa": "R1"}, 3, frozenset({"converter-1"}), 100.0)


def item(kind: str, name: str, touched: float = 0.0, digest: str = "", source: Mapping[str, object] = NOTHING) -> Item:
    return Item(kind, (name,), f"{kind}/{name}", 10, touched, digest, source)


@pytest.mark.parametrize(
    ("found", "goes", "why"),
    [
        (item("model", "tiny/onnx-int4"), False, "rollout R2 names it"),
        (item("wheelhouse", "wheels-1"), False, "rollout R2 names it"),
        (item("image", "python:1/amd64", digest="sha256:aa"), False, "rollout R1 names it"),
        (replace(item("model", "first/x"), names=("first/x", "tiny/onnx-int4")), False, "rollout R2 names it"),
        (item("wheelhouse", "wheels-0"), True, "no plan of the last 3 rollouts names it"),
        (item("release", "ollama/0.1-x86_64-cpu"), True, "no plan of the last 3 rollouts names it"),
        (item("wheelhouse", "wheels-0", touched=NOW - 99), False, "not older than --older-than"),
        (item("wheelhouse", "wheels-0", touched=NOW - 100), True, "no plan of the last 3 rollouts names it"),
        (item("model", "tiny/safetensors"), False, "a model, and no --all was given"),
        (item("environment", "converter-1"), False, "this release uses it"),
        (item("environment", "converter-0"), True, "this release uses another one"),
        (item("environment", "converter-0", touched=NOW), False, "not older than --older-than"),
        (item("download", "ollama-0.1"), True, "an interrupted download, or an archive that was unpacked"),
        (item("download", "ollama-0.1", touched=NOW - 1), False, "not older than --older-than"),
        (item("leftover", "tmp", touched=NOW), True, "left by a process that was killed"),
    ],
)
def test_one_thing(found: Item, goes: bool, why: str) -> None:
    [verdict] = judge([found], RULES, NOW)
    assert (verdict.goes, verdict.why) == (goes, why)


def test_models_go_only_when_they_are_asked_for_and_imported_ones_never() -> None:
    items = [
        item("model", "tiny/safetensors", source={"kind": "generated"}),
        item("model", "own/safetensors-int4", source={"kind": "import"}),
    ]
    assert [verdict.goes for verdict in judge(items, replace(RULES, models=True), NOW)] == [True, False]


def test_without_any_rollout_on_record_nothing_that_plans_name_goes() -> None:
    kinds = ("model", "release", "wheelhouse", "image", "environment", "download")
    rules = Rules({}, 3, frozenset(), 100.0, models=True)
    found = judge([item(kind, "x") for kind in kinds], rules, NOW)
    assert {verdict.item.kind for verdict in found if verdict.goes} == {"environment", "download"}


def test_what_a_kept_image_is_built_from_is_kept() -> None:
    items = [
        item("wheelhouse", "wheels-0", digest="w"),
        item("image", "phi4-edge/onnx:1/amd64", digest="sha256:aa", source={"base": "sha256:bb", "wheels": "w"}),
        item("image", "python:1/amd64", digest="sha256:bb"),
        item("image", "python:2/amd64", digest="sha256:cc"),
    ]
    found = judge(items, RULES, NOW)
    assert [verdict.goes for verdict in found] == [False, False, False, True]
    assert found[0].why == "phi4-edge/onnx:1/amd64 is built from it"
    without = judge(items, replace(RULES, named={"wheels-1": "R2"}), NOW)
    assert all(verdict.goes for verdict in without)
