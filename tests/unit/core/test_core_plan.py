"""Decisions: overrides, force, gates, knobs, actions, warnings and blockers, each on a varied fixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from phi4_edge.core.plan import Inputs, Plan
from phi4_edge.errors import FactsError

Make = Callable[..., Any]
SMI = "0, NVIDIA GeForce RTX 3060, 12288, {used}, {driver}, {capability}, GPU-1"
GPU = "xeon-rtx3060-driver570"


def texts(plan: Plan) -> str:
    return json.dumps(plan.to_dict(), ensure_ascii=False)


def test_a_plan_names_what_will_be_there(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"))
    assert made.memory.need == made.memory.weights + made.memory.kv_cache + made.memory.overhead == 4703741824
    assert made.memory.measured
    assert made.model.artifact == "phi-4-mini-instruct/onnx-int4" and made.model.digest == "c" * 64
    assert made.runtime.id == f"{'e' * 16}-cp313-x86_64"
    assert made.release == f"r-{made.fingerprint[:12]}"
    assert made.knobs == {"threads": 4, "memory_max": 5368709120, "queue": 8, "allow_spinning": False}
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
    assert made.applicable == (engine == "onnx" and manager == "systemd")
    assert made.applicable or f"plans {engine}" in made.not_applicable
    assert (made.runtime is None) == (made.engine != "onnx" or manager == "compose")


def test_vllm_on_a_cpu_only_with_enough_memory(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), engine="vllm")
    assert not made.fits
    assert "needs 9.7 GB RAM" in texts(made) and "phi4_force: true tries it" in texts(made)
    large = plan(document("disk-5gb", disk="/opt/phi4-edge 9e9 1 1\n/var/lib/phi4-edge 900000000000 90000000000 1"),
                 profile="development", engine="vllm")  # fmt: skip
    assert (large.engine, large.accelerator, large.knobs["kv_cache_space_gib"]) == ("vllm", "cpu", 1)
    assert large.image.reference == "vllm/vllm-openai-cpu:v0.33.0-x86_64"


def test_the_candidates_own_minimum(document: Make, plan: Make) -> None:
    meminfo = "MemTotal: 11000000 kB\nMemAvailable: 10900000 kB"
    made = plan(document("disk-5gb", meminfo=meminfo, disk="/opt/phi4-edge 900000000000 90000000000 1"),
                profile="development", engine="vllm")  # fmt: skip
    assert not made.fits and "needs 12 GB" in texts(made)


def test_an_override_that_does_not_fit_fails_with_numbers_and_force_makes_it_a_warning(
    document: Make, plan: Make
) -> None:
    refused = plan(document("pi4-4gb"), engine="onnx")
    assert not refused.fits and refused.action == "none" and refused.fingerprint is None
    assert refused.nearest_profile == "edge_optimized"
    assert any("needs 4.7 GB RAM" in text and "3.2 GB usable" in text for text in refused.missing)
    forced = plan(document("pi4-4gb"), engine="onnx", force=True)
    assert (forced.fits, forced.forced, forced.engine, forced.context_length) == (True, True, "onnx", 2048)
    assert any(text.startswith("forced: needs 4.7 GB") for text in forced.warnings)
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
    made = plan(document("gateway-6gb", meminfo="MemTotal: 5000000 kB"))
    assert (made.engine, made.context_length) == ("onnx", 2048)
    assert any("context 4096 with KV fp32 would need 4.7 GB" in text for text in made.reasons)


def test_a_context_on_request(document: Make, plan: Make) -> None:
    small = plan(document("pi4-4gb"), context_length=1024)
    assert (small.context_length, small.kv_cache_type) == (1024, "f16")
    long = plan(document(GPU), context_length=8192)
    assert long.context_length == 8192 and any("LongRoPE" in text for text in long.warnings)
    assert not plan(document("n150-8gb"), context_length=131072).fits
    assert not any("LongRoPE" in text for text in plan(document(GPU)).warnings)


def test_parallel_multiplies_the_kv_cache(document: Make, plan: Make) -> None:
    one, two = plan(document("n150-8gb")), plan(document("n150-8gb"), parallel=2)
    assert two.memory.kv_cache == 2 * one.memory.kv_cache and two.fits


@pytest.mark.parametrize(
    ("driver", "capability", "engine", "tag", "said"),
    [
        ("580.95.05", "8.6", "vllm", "v0.33.0", ""),
        ("579.99", "8.6", "vllm", "v0.33.0-cu129", ""),
        ("525.10", "8.6", "vllm", "v0.33.0-cu129", ""),
        ("580.95.05", "7.5", "vllm", "v0.33.0", ""),
        ("580.95.05", "7.0", "ollama", None, "compute capability 7.0 < 7.5"),
        ("570.10", "6.1", "ollama", None, "compute capability 6.1 < 7.5"),
        ("569.10", "6.1", "onnx", None, "NVIDIA driver 569.10, needs 570 or newer"),
        ("549.10", "7.0", "onnx", None, "NVIDIA driver 549.10, needs 550 or newer"),
        ("470.10", "8.6", "onnx", None, "NVIDIA driver 470.10, vllm 0.33.0 needs 525 or newer"),
        ("", "8.6", "onnx", None, "NVIDIA driver unknown"),
        ("580.95.05", "3.5", "onnx", None, "compute capability 3.5 < 5.0"),
        ("580.95.05", "[N/A]", "onnx", None, "reports no compute capability"),
    ],
)
def test_driver_and_compute_capability(
    document: Make, plan: Make, driver: str, capability: str, engine: str, tag: str | None, said: str
) -> None:
    made = plan(document(GPU, nvidia_smi=SMI.format(used=0, driver=driver, capability=capability)))
    assert (made.engine, made.image and made.image.tag) == (engine, tag)
    assert said in texts(made)
    if engine == "onnx":
        assert "NVIDIA GeForce RTX 3060 is not used" in made.reasons[0]


@pytest.mark.parametrize(
    ("total", "used", "engine", "quantization"),
    [
        (12288, 0, "vllm", "bf16"),
        (12288, 4000, "vllm", "int4"),
        (12288, 7000, "vllm", "int4"),
        (6144, 1500, "vllm", "int4"),
        (4096, 0, "ollama", "q4_K_M"),
        (4096, 400, "ollama", "q4_K_M"),
        (4096, 800, "ollama", "q4_0"),
        (4096, 3000, "onnx", "int4"),
    ],
)
def test_vram_and_what_others_hold(
    document: Make, plan: Make, total: int, used: int, engine: str, quantization: str
) -> None:
    row = f"0, Some RTX, {total}, {used}, 580.1, 8.6, GPU-1"
    made = plan(document(GPU, nvidia_smi=row))
    assert (made.engine, made.quantization) == (engine, quantization)
    if made.accelerator == "cuda":
        assert made.memory.need <= made.memory.available
        assert made.memory.available + made.memory.held_by_others == int(total * (1 << 20) * 0.95)


def test_vllm_settings_come_from_free_vram(document: Make, plan: Make) -> None:
    free = plan(document(GPU, nvidia_smi=SMI.format(used=0, driver="580.1", capability="8.6")))
    held = plan(document(GPU, nvidia_smi=SMI.format(used=1024, driver="580.1", capability="8.6")))
    assert (free.knobs["gpu_memory_utilization"], free.knobs["max_num_seqs"]) == (0.95, 5)
    assert (held.knobs["gpu_memory_utilization"], held.knobs["max_num_seqs"]) == (0.86, 3)
    assert free.knobs["gpu"] == "GPU-1"


def test_a_serving_host_with_a_gpu_gets_the_same_plan_although_our_engine_holds_the_memory(
    document: Make, plan: Make
) -> None:
    before = plan(document(GPU, nvidia_smi=SMI.format(used=500, driver="580.1", capability="8.6")))
    receipt = {
        "format": "phi4-edge/receipt/1", "plan_fingerprint": before.fingerprint, "release": before.release,
        "engine": "vllm", "gpu": "GPU-1", "vram_held_by_others": before.memory.held_by_others,
        "image_disk": before.image.disk,
    }  # fmt: skip
    after = plan(
        document(
            GPU,
            nvidia_smi=SMI.format(used=11900, driver="580.1", capability="8.6"),
            receipt=json.dumps({"present": True, "receipt": receipt, "file_count": 3, "drift": []}),
            service="LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled",
        )
    )
    assert (after.fingerprint, after.action, after.changes) == (before.fingerprint, "none", ())


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("init", "bash offline", "PID 1 is bash, needs systemd"),
        ("init", None, "PID 1 is unknown, needs systemd"),
        ("libc", "glibc 2.27", "glibc 2.27, needs 2.28 or newer"),
        ("libc", None, "C library unknown, needs glibc 2.28"),
        ("python", "3.10.1 x", "Python 3.10.1, needs 3.11 to 3.14"),
        ("python", "3.15.0 x", "Python 3.15.0, needs 3.11 to 3.14"),
        ("python", None, "Python unknown, needs 3.11 to 3.14"),
        ("cpuinfo", "processor : 0\nflags : sse2", "CPU without avx2"),
        ("uname", "Linux 6 riscv64", "architecture riscv64, needs x86_64 or aarch64"),
    ],
)
def test_gates_of_onnx(document: Make, plan: Make, source: str, text: str | None, said: str) -> None:
    made = plan(document("n150-8gb", **{source: text}))
    assert made.engine != "onnx"
    assert said in texts(made)


def test_compose_needs_docker_or_a_host_where_it_can_be_installed(document: Make, plan: Make) -> None:
    bare = plan(document("musl-alpine", docker=None))
    assert not bare.fits and "needs systemd" in texts(bare)
    asked = plan(document("musl-alpine", docker=None), service_manager="compose")
    assert not asked.fits and "without systemd it cannot be installed" in texts(asked)
    later = plan(document("n150-8gb"), service_manager="compose")
    assert any("Docker Engine is missing" in text for text in later.warnings)
    assert "vllm is not offered under systemd" in texts(plan(document(GPU), engine="vllm", service_manager="systemd"))


def test_jetson_without_a_known_release_falls_to_its_cpu(document: Make, plan: Make) -> None:
    made = plan(document("jetson-orin-nano-8gb", nv_tegra_release=None))
    assert made.accelerator == "cpu" and "Linux for Tegra of unknown release, needs R35 or R36" in texts(made)


def test_states_of_nvidia_have_advice(document: Make, plan: Make) -> None:
    name = "rtx3060-no-driver"
    assert "Secure Boot is on" in texts(plan(document(name)))
    assert "nouveau is loaded" in texts(plan(document(name)))
    assert "look at dmesg" in texts(plan(document(name, nvidia_smi="No devices were found", modules="nvidia 1")))
    assert "run nvidia-smi on the host" in texts(plan(document(name, modules="nvidia 1 0")))


def test_disk_per_filesystem(document: Make, plan: Make) -> None:
    gb = 10**9
    lines = f"/opt/phi4-edge {50 * gb} {gb // 5} 1\n/var/lib/phi4-edge {50 * gb} {40 * gb} 2"
    made = plan(document("n150-8gb", disk=lines), engine="onnx")
    assert not made.fits and "needs 0.3 GB of disk below /opt/phi4-edge, 0.2 GB can be used" in texts(made)
    small_docker = f"/var/lib/phi4-edge {500 * gb} {400 * gb} 1\n/var/lib/docker {20 * gb} {10 * gb} 2"
    gpu = plan(document(GPU, disk=small_docker))
    assert gpu.engine == "ollama" and "needs 22.0 GB of disk below /var/lib/docker" in texts(gpu)


def test_what_we_installed_counts_as_free(document: Make, plan: Make) -> None:
    lines = "/opt/phi4-edge 60000000000 7500000000 1\n/var/lib/phi4-edge 60000000000 7500000000 1"
    assert plan(document("n150-8gb", disk=lines)).profile == "edge_optimized"
    ours = "/opt/phi4-edge 200000000\n/var/lib/phi4-edge 2400000000"
    made = plan(document("n150-8gb", disk=lines, our_disk=ours))
    assert (made.profile, made.disk.available) == ("production_cpu", 10_100_000_000)


def test_threads_on_request(document: Make, plan: Make) -> None:
    assert plan(document("n150-8gb"), threads=2).knobs["threads"] == 2
    assert "phi4_threads 9, the host lets us use 4" in texts(plan(document("n150-8gb"), threads=9))


def test_ollama_environment(document: Make, plan: Make) -> None:
    made = plan(document("pi4-4gb"), bind="::", port=9000, parallel=1)
    environment = made.knobs["environment"]
    assert environment["OLLAMA_HOST"] == "[::]:9000"
    assert (environment["OLLAMA_KV_CACHE_TYPE"], environment["OLLAMA_FLASH_ATTENTION"]) == ("q8_0", "1")
    assert any("without a key" in text for text in made.warnings)


def test_warnings(document: Make, plan: Make) -> None:
    made = plan(document(GPU, reboot_required="yes\nlinux", modules="nvidia 1\nnouveau 1",
                         nvidia_smi="0, Small, 4096, 0, 580.1, 8.6, GPU-1",
                         uid={"text": "0", "truncated": True}))  # fmt: skip
    for said in ("waits for a reboot", "nouveau module is loaded", "VRAM 4.0 GiB is below the 6 GB", "uid was longer"):
        assert any(said in text for text in made.warnings), said
    assert any("RAM 7.6 GiB is below the 12 GB recommended" in text for text in plan(document("n150-8gb")).warnings)


def test_blockers_on_a_host_that_is_not_ours(document: Make, plan: Make) -> None:
    busy = document("n150-8gb", meminfo="MemTotal: 7968768 kB\nMemAvailable: 1000000 kB", listening="0.0.0.0 8080")
    made = plan(busy)
    assert made.fits and len(made.blockers) == 2
    assert "1.0 GB available now, onnx int4 needs 4.7 GB" in made.blockers[0]
    assert "port 8080 is in use on 0.0.0.0" in made.blockers[1]
    assert plan(busy, force=True, port=8081).blockers == ()
    elsewhere = document("n150-8gb", listening="10.0.0.1 8080")
    assert plan(elsewhere).blockers == () and plan(elsewhere, bind="0.0.0.0").blockers != ()


def test_blocked_by_disk_while_the_old_release_is_kept(document: Make, plan: Make) -> None:
    made = plan(
        document(
            "n150-8gb",
            disk="/var/lib/phi4-edge 60000000000 2000000000 1",
            our_disk="/var/lib/phi4-edge 9000000000",
            receipt=json.dumps({"present": True, "receipt": {"format": "phi4-edge/receipt/1"}}),
        )
    )
    assert made.blockers == ("disk: 2.4 GB to write below /var/lib/phi4-edge, 2.0 GB free now",)


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
