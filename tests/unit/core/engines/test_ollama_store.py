"""What Ollama is asked to make of a pushed model: its requests in their order, and what the store is called after."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge import data
from phi4_edge.core.engines import ollama_store
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import PreflightError
from tests.unit.core.fixture_hosts import read
from tests.unit.core.held import whole

WISHES = Overrides.from_vars("gateway-6gb", {"phi4_engine": "ollama", "phi4_service_manager": "systemd"})
HELD = Inputs({f"phi-4-mini-instruct/gguf-{name}": "d" * 64 for name in ("q4_0", "q4_K_M", "q5_1", "q8_0")}, {})
PLAN = decide(parse.parse(read("gateway-6gb")), data.load_table(), data.load_catalog(), WISHES, HELD).to_dict()


def asked(**more: Any) -> dict[str, Any]:
    """What would be sent for the gateway's plan."""
    paths = {name: f"/{name}" for name in ("engine", "model", "store", "staging")}
    plan = {**PLAN, **more.pop("plan", {})}
    found: dict[str, Any] = ollama_store.request({"plan": plan, "paths": paths, **more}, "TEMPLATE")
    return found


def test_the_model_is_made_first_and_each_variant_behind_its_base() -> None:
    variants = {
        "a-last": {"from": "m-middle", "parameters": {"temperature": 0.1}, "system": "S"},
        "m-middle": {"from": "base", "parameters": {}, "system": ""},
    }
    parameters = {"stop": ["<|end|>"], "num_predict": 4096}
    bodies = ollama_store.requests("base", variants, "T", parameters, {})
    assert bodies == [
        {"model": "base", "template": "T", "parameters": parameters},
        {"model": "m-middle", "from": "base", "parameters": {}},
        {"model": "a-last", "from": "m-middle", "parameters": {"temperature": 0.1}, "system": "S"},
    ]
    with pytest.raises(PreflightError, match="without a base that can be made: lost"):
        ollama_store.requests("base", {"lost": {"from": "nowhere"}}, "T", {}, {})


def test_a_model_of_the_library_keeps_its_own_template() -> None:
    library = {"name": "phi4-mini:3.8b-q4_K_M", "digest": "sha256:3c168af1dea0"}
    first = asked(library=library)["requests"][0]
    wanted = {"model": "phi-4-mini-instruct", "from": "phi4-mini:3.8b-q4_K_M", "parameters": {"num_predict": 4096}}
    assert first == wanted


def test_the_seed_s_variants_are_made() -> None:
    bodies = {one["model"]: one for one in asked()["requests"]}
    assert list(bodies) == ["phi-4-mini-instruct", "phi4-mini-coder", "phi4-mini-reasoning"]
    assert bodies["phi4-mini-reasoning"]["parameters"] == {"temperature": 0.3, "top_p": 0.8}
    assert bodies["phi4-mini-coder"]["system"].startswith("You are a coding assistant")


def test_the_store_is_another_when_anything_in_it_is() -> None:
    plan = PLAN
    model = plan["model"]
    found = {
        asked(plan={"knobs": {**plan["knobs"], "max_tokens": 300}})["made"],
        asked()["made"],
        asked(library={"name": "x", "digest": "y"})["made"],
        asked(plan={"model": {**model, "digest": "f" * 64}})["made"],
    }
    assert len(found) == 4
    assert asked()["made"] in found


def planned(engine: str, manager: str) -> dict[str, Any]:
    """The gateway's plan of a controller that has all of its files."""
    wishes = Overrides.from_vars(
        "gateway-6gb", {"phi4_engine": engine, "phi4_service_manager": manager, "phi4_force": True}
    )
    held = whole(HELD.artifacts, {"phi4-edge/onnx": "a" * 64})
    return decide(parse.parse(read("gateway-6gb")), data.load_table(), data.load_catalog(), wishes, held).to_dict()


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Names of what differs between two plans, of the engine's settings each by itself."""
    flat = [{**plan, **{f"knobs.{name}": value for name, value in plan["knobs"].items()}} for plan in (before, after)]
    assert flat[0].keys() == flat[1].keys()
    return {name for name in flat[0] if flat[0][name] != flat[1][name]} - {"knobs"}


@pytest.mark.parametrize("manager", ["systemd", "compose"])
def test_another_stop_word_is_another_store_and_another_release(monkeypatch: pytest.MonkeyPatch, manager: str) -> None:
    before, others, made = planned("ollama", manager), planned("onnx", manager), asked()["made"]
    monkeypatch.setattr(ollama_store, "STOP", ("<|end|>", "<|user|>"))
    # The list of changes says the release; a container reads the store by its own name, which its document has.
    named = {"knobs.store", "release", "fingerprint", "changes"} | ({"content"} if manager == "compose" else set())
    assert changes(before, planned("ollama", manager)) == named
    assert asked()["made"] != made
    assert asked()["requests"][0]["parameters"]["stop"] == ["<|end|>", "<|user|>"]
    assert planned("onnx", manager) == others
