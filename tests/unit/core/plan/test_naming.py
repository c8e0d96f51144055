"""A release has one name: none before all of its files are known, and never another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import jsonschema
import pytest

from phi4_edge.core.plan.decide import Inputs, Plan
from phi4_edge.data import schema
from phi4_edge.report import plans
from tests.unit.core.held import whole

Make = Callable[..., Any]
VALID = jsonschema.Draft202012Validator(schema("plan"))
RUNTIMES = {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64, "ollama": "a" * 64, "vllm": "b" * 64}
COMPOSE = {"service_manager": "compose"}
# Each way to serve, and what its release waits for on a controller that has no file.
WAYS: Mapping[str, tuple[str, Mapping[str, Any], tuple[str, ...]]] = {
    "onnx": ("n150-8gb", {"engine": "onnx"}, ("phi-4-mini-instruct/onnx-int4",)),
    "onnx in containers": (
        "n150-8gb", {"engine": "onnx", **COMPOSE}, ("phi-4-mini-instruct/onnx-int4", "phi4-edge/onnx:")
    ),
    "onnx with a page": (
        "n150-8gb", {"engine": "onnx", "webui_enabled": True},
        ("phi-4-mini-instruct/onnx-int4", "ghcr.io/open-webui/open-webui:"),
    ),
    "ollama": ("n150-8gb", {"engine": "ollama"}, ("phi-4-mini-instruct/gguf-q8_0", "ollama/")),
    "ollama in containers": (
        "n150-8gb", {"engine": "ollama", **COMPOSE}, ("phi-4-mini-instruct/gguf-q8_0", "docker.io/ollama/ollama:")
    ),
    "vllm": ("xeon-rtx3060-driver570", {"engine": "vllm"},
             ("phi-4-mini-instruct/safetensors", "docker.io/vllm/vllm-openai:")),
}  # fmt: skip


def knowing(names: tuple[str, ...]) -> Inputs:
    """What a controller holds that has made and fetched these alone."""
    every = whole({}, RUNTIMES)
    artifacts = {name: every.artifacts.get(name) or "" for name in names}
    images = {name: every.images.get(name) or "" for name in names}
    return Inputs(artifacts, RUNTIMES, images)


def makers(document: Make, plan: Make, way: str) -> tuple[Callable[[Inputs], Plan], tuple[str, ...]]:
    host, wishes, _ = WAYS[way]

    def make(inputs: Inputs) -> Plan:
        made: Plan = plan(document(host), inputs, **wishes)
        VALID.validate(made.to_dict())
        return made

    return make, make(knowing(())).awaits


@pytest.mark.parametrize("way", WAYS)
def test_without_files_a_plan_says_what_its_release_waits_for(document: Make, plan: Make, way: str) -> None:
    make, awaits = makers(document, plan, way)
    made, wanted = make(knowing(())), WAYS[way][2]
    assert (made.release, made.fingerprint, made.action) == (None, None, "install")
    assert [name.startswith(start) for name, start in zip(awaits, wanted, strict=True)] == [True] * len(wanted)
    (said,) = plans.changes(made.to_dict())
    assert said == f"installs a release that gets its name when its files are here ({', '.join(awaits)})"
    assert "None" not in " ".join(plans.explain(made.to_dict(), 200))


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_known_first_the_release_has_one_name(document: Make, plan: Make, way: str) -> None:
    make, awaits = makers(document, plan, way)
    full = make(knowing(awaits))
    assert full.release == f"r-{str(full.fingerprint)[:12]}" and full.awaits == ()
    assert plans.changes(full.to_dict()) == [f"installs release {full.release}"]
    for known in product((False, True), repeat=len(awaits)):
        names = tuple(name for name, there in zip(awaits, known, strict=True) if there)
        made = make(knowing(names))
        assert made.awaits == tuple(name for name in awaits if name not in names)
        assert made.release == (full.release if all(known) else None)


@pytest.mark.parametrize("way", WAYS)
def test_another_digest_of_any_part_is_another_release(document: Make, plan: Make, way: str) -> None:
    make, awaits = makers(document, plan, way)
    full = knowing(awaits)
    found = {make(full).release}
    for name in awaits:
        artifacts = {**full.artifacts, **({name: "0" * 64} if name in full.artifacts else {})}
        images = {**full.images, **({name: "sha256:" + "0" * 64} if name in full.images else {})}
        found.add(make(Inputs(artifacts, RUNTIMES, images)).release)
    assert len(found) == len(awaits) + 1


def test_a_host_that_serves_is_told_of_a_change_whose_name_is_not_known(document: Make, plan: Make) -> None:
    """On a controller that lost its store: nobody knows whether it will be the same release."""
    import json

    body = {"format": "phi4-edge/receipt/1", "release": "r-0123456789ab", "plan_fingerprint": "0" * 64,
            "model": {"artifact": "phi-4-mini-instruct/onnx-int4", "digest": "c" * 64}}  # fmt: skip
    found = document("n150-8gb", receipt=json.dumps({"present": True, "receipt": body}))
    made = plan(found, knowing(()), engine="onnx")
    assert (made.action, made.release) == ("change", None)
    assert {"what": "release", "before": "r-0123456789ab", "after": None} in made.changes
    said = plans.changes(made.to_dict())
    assert said[-1] == (
        "release: r-0123456789ab -> a release that gets its name when its files are here "
        "(phi-4-mini-instruct/onnx-int4)"
    )
    assert not any(line.startswith("model digest") for line in said)
