"""No knob is a wish: what a plan says of its engine is what the engine is started with. And what the knobs are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines import ollama_store
from phi4_edge.core.plan.decide import Inputs
from phi4_edge.core.plan.settings import LIMIT_STEP
from tests.standins import knobs_reach
from tests.unit.core.engines.test_compose import PLANS, engine

Make = Callable[..., Any]
MIB = 1 << 20
HELD = Inputs({"phi-4-mini-instruct/gguf-q4_0": "9" * 64})
BEYOND = {
    "allowed_hosts": "gw1.example", "max_tokens": 300, "threads": 1, "cors_origins": "https://chat.example:3000",
    "connections": 64, "deadline_seconds": 90, "metrics": "false", "prefix_cache": "false", "repacked": "true",
}  # fmt: skip


def made(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """What Ollama is asked to make for the plan."""
    if plan["engine"] != "ollama":
        return []
    paths = dict.fromkeys(("engine", "model", "store", "staging"), "/x")
    found: list[dict[str, Any]] = ollama_store.request({"plan": plan, "paths": paths}, "T")["requests"]
    return found


def reached(plan: dict[str, Any]) -> list[str]:
    return knobs_reach.unreached(plan, knobs_reach.of_compose(plan, engine(plan), made(plan)))


@pytest.mark.parametrize("name", PLANS)
def test_every_knob_reaches_its_container(name: str) -> None:
    assert reached(PLANS[name]) == []


@pytest.mark.parametrize("wanted", ["onnx", "ollama", "vllm"])
@pytest.mark.parametrize("host", ["two-gpus", "n150-8gb"])
def test_so_does_what_the_inventory_asks_for(document: Make, plan: Make, wanted: str, host: str) -> None:
    wishes = {"engine": wanted, "service_manager": "compose", "force": True, **BEYOND}
    found = {**plan(document(host), HELD, **wishes).to_dict(), "release": "r-000000000000"}
    assert (found["engine"], found["knobs"]["threads"], found["knobs"]["max_tokens"]) == (wanted, 1, 300)
    assert reached(found) == []


@pytest.mark.parametrize(
    ("wanted", "asked", "tokens"),
    [
        ("onnx", {}, 1024),
        ("onnx", {"max_tokens": 4000}, 4000),
        ("onnx", {"max_tokens": 9000}, 4096),
        ("onnx", {"context_length": 512}, 512),
        ("ollama", {}, 4096),
    ],
)
def test_an_answer_of_which_nobody_says_how_long_it_may_be(
    document: Make, plan: Make, wanted: str, asked: dict[str, int], tokens: int
) -> None:
    assert plan(document("n150-8gb"), engine=wanted, force=True, **asked).knobs["max_tokens"] == tokens


@pytest.mark.parametrize("wanted", ["onnx", "ollama"])
def test_settings_of_our_own_engine_are_said_to_have_no_effect_elsewhere(
    document: Make, plan: Make, wanted: str
) -> None:
    made = plan(document("n150-8gb"), engine=wanted, force=True, **BEYOND)
    without = [text.split()[0] for text in made.warnings if "has no effect" in text]
    names = ("allowed_hosts", "cors_origins", "connections", "deadline_seconds", "metrics", "prefix_cache", "repacked")
    ours = [f"phi4_{name}" for name in names]
    assert without == ([] if wanted == "onnx" else ours)


def test_a_knob_that_reaches_nobody_is_told() -> None:
    plan = PLANS["n150-8gb/onnx-int4"]
    assert reached({**plan, "knobs": {**plan["knobs"], "allow_spinning": False}}) == ["allow_spinning=False"]
    service = engine(plan)
    for name in ("PHI4_THREADS", "PHI4_QUEUE", "PHI4_MAX_TOKENS"):
        without = {**service, "environment": {**service["environment"], name: "77"}}
        assert len(knobs_reach.unreached(plan, knobs_reach.of_compose(plan, without))) == 1, name


def cache(plan: Any) -> int:
    return int(plan.knobs["environment"]["LLAMA_ARG_CACHE_RAM"]) * MIB


@pytest.mark.parametrize(
    ("host", "mib"),
    # 3.7 GiB: nothing is left beside q8_0's KV cache; more RAM leaves more, up to two full contexts of 512 MiB.
    [("pi4-4gb", 0), ("gateway-6gb", 1024), ("n150-8gb", 1024)],
)
def test_kept_prompts_take_what_is_left_and_at_most_what_helps(document: Make, plan: Make, host: str, mib: int) -> None:
    made = plan(document(host), engine="ollama", quantization="q4_0")
    assert cache(made) == made.memory.prompt_cache == mib * MIB
    memory = made.memory
    assert memory.need == memory.weights + memory.kv_cache + memory.overhead + memory.prompt_cache
    assert memory.need + memory.os_reserve <= memory.available
    limit = min(
        int((memory.need - memory.prompt_cache) * 1.15) + memory.prompt_cache, memory.available - memory.os_reserve
    )
    assert limit - LIMIT_STEP < made.knobs["memory_max"] <= limit
    assert made.knobs["memory_max"] >= memory.need


def test_every_size_of_a_host_leaves_the_system_its_share(document: Make, plan: Make) -> None:
    seen = set()
    for mib in range(4000, 9000, 250):
        made = plan(document("n150-8gb", meminfo=f"MemTotal: {mib * 1024} kB\n"), engine="ollama", quantization="q4_0")
        if made.fits:
            seen.add(cache(made) // MIB)
            assert cache(made) % (64 * MIB) == 0
            assert made.memory.need + made.memory.os_reserve <= mib * MIB
            assert made.knobs["memory_max"] + made.memory.os_reserve <= mib * MIB
    assert min(seen) == 0 and max(seen) == 1024 and len(seen) > 3


def test_beside_a_gpu_they_lie_in_ram(document: Make, plan: Make) -> None:
    made = plan(document("gtx1060-6gb"), engine="ollama")
    assert made.memory.kind == "vram"
    assert cache(made) == made.memory.prompt_cache == 2 * made.memory.kv_cache
    assert made.memory.ram_need == 1_500_000_000 + made.memory.prompt_cache
    assert made.memory.need == made.memory.weights + made.memory.kv_cache + made.memory.overhead


def test_the_chat_page_and_force_leave_the_system_its_share(document: Make, plan: Make) -> None:
    alone = plan(document("gateway-6gb"), engine="ollama", quantization="q4_0")
    beside = plan(document("gateway-6gb"), engine="ollama", quantization="q4_0", webui_enabled=True)
    assert cache(beside) < cache(alone)
    forced = plan(document("pi4-4gb"), engine="ollama", quantization="q8_0", force=True)
    assert (forced.forced, cache(forced)) == (True, 0)


def test_only_an_engine_that_keeps_prompts_in_ram_has_them(document: Make, plan: Make, catalog: Catalog) -> None:
    assert [name for name, engine in catalog.engines.items() if engine.prompt_cache] == ["ollama"]
    assert plan(document("n150-8gb")).memory.prompt_cache == 0


@pytest.mark.parametrize(("wanted", "most"), [("auto", 4096), ("300", 300), (9000, 4096)])
def test_no_answer_is_without_an_end(document: Make, plan: Make, wanted: Any, most: int) -> None:
    variants = {"long": {"parameters": {"num_predict": -1}}, "short": {"parameters": {"num_predict": 20}}}
    made = plan(document("gateway-6gb"), HELD, engine="ollama", max_tokens=wanted, variants=variants)
    asked = {one["model"]: one["parameters"] for one in ollama_store.request(
        {"plan": made.to_dict(), "paths": dict.fromkeys(("engine", "model", "store", "staging"), "/x")},
        "T")["requests"]}  # fmt: skip
    assert asked["phi-4-mini-instruct"] == {"stop": list(ollama_store.STOP), "num_predict": most}
    # A variant has its base's bound, or one of its own, which the context bounds too.
    assert asked["phi4-mini-coder"] == {"temperature": 0.5, "top_p": 0.9}
    assert (asked["long"], asked["short"]) == ({"num_predict": 4096}, {"num_predict": 20})


def test_another_bound_is_another_store_and_another_release(document: Make, named: Make) -> None:
    first, second = (named(document("gateway-6gb"), engine="ollama", max_tokens=most) for most in (300, 400))
    assert first.knobs["store"] != second.knobs["store"]
    assert first.release != second.release
    same = named(document("gateway-6gb"), engine="ollama", max_tokens=4096)
    assert same.release == named(document("gateway-6gb"), engine="ollama").release


def test_repacked_weights_are_asked_for_and_take_disk(document: Make, plan: Make) -> None:
    host = document("n150-8gb")
    plain, packed = plan(host, engine="onnx"), plan(host, engine="onnx", repacked="true")
    assert packed.knobs["repacked"] == "/var/lib/phi4-edge/repacked" and "repacked" not in plain.knobs
    more = int(2_400_000_000 * 2.8)
    assert (packed.disk.need - plain.disk.need, packed.disk.kept - plain.disk.kept) == (more, more)
    contained = plan(host, engine="onnx", service_manager="compose", repacked="true")
    assert "repacked" not in contained.knobs
    assert any("phi4_repacked has no effect under compose" in text for text in contained.warnings)
