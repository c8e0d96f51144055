"""Decisions: overrides, force, knobs, actions, warnings and blockers, each on a varied fixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.plan.decide import Inputs, Plan
from phi4_edge.errors import FactsError

Make = Callable[..., Any]
SMI = "0, NVIDIA GeForce RTX 3060, 12288, {used}, {driver}, {capability}, GPU-1"
GPU = "xeon-rtx3060-driver570"


def texts(plan: Plan) -> str:
    return json.dumps(plan.to_dict(), ensure_ascii=False)


def test_a_plan_names_what_will_be_there(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"))
    assert made.memory.need == made.memory.weights + made.memory.kv_cache + made.memory.overhead == 6571225472
    assert made.memory.measured
    assert made.model.artifact == "phi-4-mini-instruct/onnx-int4" and made.model.digest == "c" * 64
    assert made.runtime.id == f"{'e' * 16}-cp313-x86_64"
    assert made.release == f"r-{made.fingerprint[:12]}"
    assert made.knobs == {"threads": 4, "memory_max": 7314866176, "queue": 8, "max_tokens": 1024}
    assert [item["engine"] for item in made.candidates] == ["onnx", "ollama", "ollama"]
    assert all(item["fits"] for item in made.candidates)
    assert made.disk.to_write == 2_700_000_000


def test_what_the_controller_does_not_hold_is_null(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), Inputs())
    assert (made.model.digest, made.runtime.digest, made.runtime.id) == (None, None, None)
    assert made.fingerprint != plan(document("n150-8gb")).fingerprint


def test_tiny_is_planned_as_what_it_stands_in_for(document: Make, plan: Make) -> None:
    made, real = plan(document("n150-8gb"), model="tiny"), plan(document("n150-8gb"))
    assert made.memory == real.memory
    assert (made.model.artifact, made.model.size, made.model.served_name) == (
        "tiny/onnx-int4", 2_300_000, "phi-4-mini-instruct",
    )  # fmt: skip
    assert made.fingerprint != real.fingerprint


@pytest.mark.parametrize(
    ("overrides", "engine", "quantization", "accelerator", "manager"),
    [
        ({"engine": "ollama"}, "ollama", "q8_0", "cpu", "systemd"),
        ({"engine": "ollama", "quantization": "q4_0"}, "ollama", "q4_0", "cpu", "systemd"),
        ({"quantization": "q5_1"}, "ollama", "q5_1", "cpu", "systemd"),
        ({"profile": "development"}, "ollama", "q4_K_M", "cpu", "systemd"),
        ({"profile": "edge_optimized"}, "onnx", "int4", "cpu", "systemd"),
        ({"service_manager": "compose"}, "onnx", "int4", "cpu", "compose"),
        ({"engine": "ollama", "service_manager": "compose"}, "ollama", "q8_0", "cpu", "compose"),
    ],
)
def test_overrides_are_followed(
    document: Make, plan: Make, overrides: Any, engine: str, quantization: str, accelerator: str, manager: str
) -> None:
    made = plan(document("n150-8gb"), **overrides)
    assert (made.engine, made.quantization, made.accelerator, made.service_manager) == (
        engine, quantization, accelerator, manager,
    )  # fmt: skip
    assert made.applicable and made.not_applicable is None
    assert (made.runtime is None, made.image is None) == (manager == "compose", manager == "systemd")


def test_an_override_that_does_not_fit_fails_with_numbers_and_force_makes_it_a_warning(
    document: Make, plan: Make
) -> None:
    refused = plan(document("pi4-4gb"), engine="onnx")
    assert not refused.fits and refused.action == "none" and refused.fingerprint is None
    assert refused.nearest_profile == "edge_optimized"
    assert any("needs 4.4 GB RAM" in text and "3.2 GB usable" in text for text in refused.missing)
    forced = plan(document("pi4-4gb"), engine="onnx", force=True)
    assert (forced.fits, forced.forced, forced.engine, forced.context_length) == (True, True, "onnx", 2048)
    assert any(text.startswith("forced: needs 4.4 GB") for text in forced.warnings)
    assert forced.blockers == ()
    assert forced.knobs["memory_max"] <= 3884376 * 1024


def test_force_without_a_wish_changes_nothing(document: Make, plan: Make) -> None:
    assert not plan(document("gateway-2gb"), force=True).fits
    assert plan(document("n150-8gb"), force=True).fingerprint == plan(document("n150-8gb")).fingerprint


def test_force_does_not_get_past_what_cannot_run(document: Make, plan: Make) -> None:
    made = plan(document("armv7-board"), engine="onnx", force=True)
    assert not made.fits and "architecture armv7l" in texts(made)
    assert "phi4_force: true" not in texts(made)
    no_gpu = plan(document("n150-8gb"), profile="production_gpu", force=True)
    assert not no_gpu.fits and no_gpu.missing[0] == "found no NVIDIA GPU"


def test_force_takes_the_nearest_profile_and_keeps_its_shortfall_as_a_warning(document: Make, plan: Make) -> None:
    made = plan(document("gateway-2gb"), quantization="q4_0", force=True)
    assert (made.profile, made.engine) == ("edge_optimized", "ollama")
    assert sum(text.startswith("forced: ") for text in made.warnings) == 2


def test_a_combination_that_does_not_exist(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), engine="onnx", quantization="q4_0")
    assert not made.fits and "nothing in the catalog is phi4_engine=onnx phi4_quantization=q4_0 for cpu" in texts(made)
    onnx = plan(document(GPU), engine="onnx")
    assert (onnx.engine, onnx.profile) == ("onnx", "production_cpu")
    assert "nothing in the catalog is phi4_engine=onnx for cuda" in onnx.reasons[0]


def test_context_halves_only_after_the_kv_cache_shrank(document: Make, plan: Make) -> None:
    def at(kib: int) -> tuple[Any, Any, Any]:
        made = plan(document("pi4-4gb", meminfo=f"MemTotal: {kib} kB"))
        return made.fits, made.context_length, made.kv_cache_type

    assert at(4100000) == (True, 4096, "f16")
    assert at(3884376) == (True, 4096, "q8_0")
    assert at(3775000) == (True, 2048, "f16")
    assert at(3700000) == (False, None, None)


def test_onnx_halves_the_context_where_4096_does_not_fit(document: Make, plan: Make) -> None:
    made = plan(document("gateway-6gb", meminfo="MemTotal: 4800000 kB"))
    assert (made.engine, made.context_length) == ("onnx", 2048)
    assert any("context 4096 with KV fp32 would need 4.4 GB" in text for text in made.reasons)


def test_a_context_on_request(document: Make, plan: Make) -> None:
    small = plan(document("pi4-4gb"), context_length=1024)
    assert (small.context_length, small.kv_cache_type) == (1024, "f16")
    long = plan(document(GPU), context_length=8192)
    assert long.context_length == 8192 and any("LongRoPE" in text for text in long.warnings)
    assert not plan(document("n150-8gb"), context_length=131072).fits
    assert not any("LongRoPE" in text for text in plan(document(GPU)).warnings)


def test_parallel_multiplies_the_kv_cache(document: Make, plan: Make) -> None:
    one, two = (plan(document("n150-8gb"), parallel=parallel) for parallel in (1, 2))
    assert two.memory.kv_cache == 2 * one.memory.kv_cache and two.fits
    assert (one.memory.later, two.memory.later) == (0, one.memory.kv_cache)


@pytest.mark.parametrize(
    ("total", "context", "parallel"),
    [
        (5.0, 2048, 1),
        (5.1, 2048, 1),
        (5.2, 4096, 1),
        (6.7, 4096, 2),
        (7.1, 4096, 2),
        (7.6, 4096, 3),
        (9, 4096, 4),
        (64, 4096, 4),
    ],
)
def test_as_many_answers_at_a_time_as_fit_beside_the_longest_context(
    document: Make, plan: Make, total: float, context: int, parallel: int
) -> None:
    """A longer context is worth more than a second answer; nobody gets more than four."""
    made = plan(document("n150-8gb", meminfo=f"MemTotal: {int(total * 10**6)} kB"), engine="onnx", force=True)
    assert (made.context_length, made.parallel) == (context, parallel)
    assert made.memory.need + made.memory.os_reserve <= made.memory.available
    assert made.memory.later == made.memory.kv_cache * (parallel - 1) // parallel


def test_who_wants_least_memory_and_other_engines_get_one_answer_at_a_time(document: Make, plan: Make) -> None:
    roomy = document("n150-8gb", meminfo="MemTotal: 64000000 kB")
    assert plan(roomy, prefer="memory", engine="onnx").parallel == 1
    assert plan(roomy, engine="ollama").parallel == 1
    assert plan(roomy, engine="onnx", parallel=2).parallel == 2


def test_threads_on_request(document: Make, plan: Make) -> None:
    assert plan(document("n150-8gb"), threads=2).knobs["threads"] == 2
    assert "phi4_threads 9, the host lets us use 4" in texts(plan(document("n150-8gb"), threads=9))


@pytest.mark.parametrize(("name", "release"), [("jetson-orin-jetpack5", "5"), ("jetson-orin-nano-8gb", "6")])
def test_ollama_is_told_of_jetpack_where_it_cannot_look(document: Make, plan: Make, name: str, release: str) -> None:
    inside = plan(document(name), service_manager="compose")
    assert (inside.accelerator, inside.knobs["environment"]["JETSON_JETPACK"]) == ("cuda", release)
    assert "JETSON_JETPACK" not in plan(document(name)).knobs["environment"]
    elsewhere = plan(document("gtx1060-6gb"), service_manager="compose")
    assert (elsewhere.accelerator, "JETSON_JETPACK" in elsewhere.knobs["environment"]) == ("cuda", False)


def test_ollama_environment(document: Make, plan: Make) -> None:
    made = plan(document("pi4-4gb"), bind="::", open=True, port=9000, parallel=1)
    environment = made.knobs["environment"]
    assert environment["OLLAMA_HOST"] == "[::]:9000"
    assert (environment["OLLAMA_KV_CACHE_TYPE"], environment["OLLAMA_FLASH_ATTENTION"]) == ("q8_0", "1")
    assert any("without a key" in text for text in made.warnings)


def test_warnings(document: Make, plan: Make) -> None:
    made = plan(document(GPU, reboot_required="yes\nlinux", modules="nvidia 1\nnouveau 1",
                         nvidia_smi="0, Small, 4096, 0, 580.1, 8.6, GPU-1",
                         uid={"text": "0", "truncated": True}))  # fmt: skip
    for said in ("needs a reboot", "nouveau module is loaded", "VRAM 4.0 GiB is below the 6 GB", "uid was too long"):
        assert any(said in text for text in made.warnings), said
    assert any("RAM 7.6 GiB is below the 12 GB recommended" in text for text in plan(document("n150-8gb")).warnings)


@pytest.mark.parametrize(
    ("libc", "settings", "warned"),
    [
        ("glibc 2.28", {"engine": "onnx"}, True),
        ("glibc 2.30", {"engine": "onnx"}, True),
        ("glibc 2.31", {"engine": "onnx"}, False),
        ("glibc 2.28", {"engine": "onnx", "service_manager": "compose"}, False),
        ("glibc 2.28", {"engine": "ollama"}, False),
    ],
)
def test_a_c_library_too_old_for_answers_in_a_form_is_said(
    document: Make, plan: Make, libc: str, settings: dict[str, str], warned: bool
) -> None:
    made = plan(document("n150-8gb", libc=libc), **settings)
    assert made.fits
    found = [text for text in made.warnings if "need 2.31" in text]
    assert bool(found) is warned
    assert not found or found[0].startswith(f"{libc}: JSON answers")


def test_blockers_on_a_host_that_is_not_ours(document: Make, plan: Make) -> None:
    busy = document("n150-8gb", meminfo="MemTotal: 7968768 kB\nMemAvailable: 1000000 kB", listening="0.0.0.0 8080")
    made = plan(busy)
    assert made.fits and len(made.blockers) == 2
    assert "1.0 GB of memory available now, needed 4.4 GB for onnx int4: " in made.blockers[0]
    assert "port 8080 is in use on 0.0.0.0" in made.blockers[1]
    assert plan(busy, force=True, port=8081).blockers == ()
    elsewhere = document("n150-8gb", listening="10.0.0.1 8080")
    assert plan(elsewhere).blockers == () and plan(elsewhere, bind="0.0.0.0", open=True).blockers != ()


def test_blocked_by_disk_while_the_old_release_is_kept(document: Make, plan: Make) -> None:
    made = plan(
        document(
            "n150-8gb",
            disk="/var/lib/phi4-edge 60000000000 2000000000 1",
            our_disk="/var/lib/phi4-edge 9000000000",
            receipt=json.dumps({"present": True, "receipt": {"format": "phi4-edge/receipt/1"}}),
        )
    )
    (text,) = made.blockers
    assert text.startswith("2.0 GB free now below /var/lib/phi4-edge, needed 2.4 GB to write there: ")


def test_plan_documents(document: Make, plan: Make) -> None:
    for name in ("n150-8gb", GPU, "gateway-2gb"):
        made = plan(document(name))
        again = Plan.from_dict(json.loads(json.dumps(made.to_dict())))
        assert again.to_dict() == made.to_dict()
        assert (again.memory, again.model, again.image) == (made.memory, made.model, made.image)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "x"}, "no plan document"),
        ({"own": 1}, "plan differs from this release in: own"),
        ({"memory": {}}, "memory differs"),
        ({"memory": 3}, "memory differs"),
        ({"reasons": "x"}, "no list reasons"),
    ],
)
def test_a_document_that_is_no_plan(document: Make, plan: Make, change: Any, named: str) -> None:
    with pytest.raises(FactsError, match=named):
        Plan.from_dict(plan(document("n150-8gb")).to_dict() | change)
    with pytest.raises(FactsError):
        Plan.from_dict([])
