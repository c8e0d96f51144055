"""Gates: GPUs and their drivers, Jetson, service managers, C library, Python, disk, each on a varied fixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.sizing import ranked_gpus
from phi4_edge.data import load_table

Make = Callable[..., Any]
SMI = "0, NVIDIA GeForce RTX 3060, 12288, {used}, {driver}, {capability}, GPU-1"
GPU = "xeon-rtx3060-driver570"


def texts(plan: Plan) -> str:
    return json.dumps(plan.to_dict(), ensure_ascii=False)


def test_vllm_on_a_cpu_only_with_enough_memory(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), engine="vllm")
    assert not made.fits
    assert "needs 10.2 GB RAM" in texts(made) and "phi4_force: true tries it" in texts(made)
    large = plan(document("disk-5gb", disk="/opt/phi4-edge 9e9 1 1\n/var/lib/phi4-edge 900000000000 90000000000 1"),
                 profile="development", engine="vllm")  # fmt: skip
    assert (large.engine, large.accelerator, large.knobs["kv_cache_space_gib"]) == ("vllm", "cpu", 1)
    assert large.image.reference == "docker.io/vllm/vllm-openai-cpu:v0.33.0-x86_64"


def test_the_candidates_own_minimum(document: Make, plan: Make) -> None:
    meminfo = "MemTotal: 11000000 kB\nMemAvailable: 10900000 kB"
    made = plan(document("disk-5gb", meminfo=meminfo, disk="/opt/phi4-edge 900000000000 90000000000 1"),
                profile="development", engine="vllm")  # fmt: skip
    assert not made.fits and "needs 12 GB" in texts(made)


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
    document: Make, plan: Make, pinned: Any, total: int, used: int, engine: str, quantization: str
) -> None:
    row = f"0, Some RTX, {total}, {used}, 580.1, 8.6, GPU-1"
    made = plan(document(GPU, nvidia_smi=row), using=pinned)
    assert (made.engine, made.quantization) == (engine, quantization)
    if made.accelerator == "cuda":
        assert made.memory.need <= made.memory.available
        assert made.memory.available + made.memory.held_by_others == int(total * (1 << 20) * 0.95)


def test_a_checkpoint_without_a_known_revision_is_passed_over_and_planned_only_by_name(
    document: Make, plan: Make
) -> None:
    small = document(GPU, nvidia_smi="0, Some RTX, 8192, 0, 580.1, 8.6, GPU-1")
    made = plan(small)
    assert (made.engine, made.quantization, made.applicable) == ("ollama", "q8_0", True)
    assert any(
        item["quantization"] == "int4" and "knows no revision of pytorch/" in item["reason"] for item in made.rejected
    )
    asked = plan(small, engine="vllm", quantization="int4")
    assert asked.fits and not asked.applicable
    assert "vllm int4 cannot be delivered: the catalog knows no revision" in asked.not_applicable


def test_a_recipe_on_request_is_planned_by_name_alone(document: Make, plan: Make) -> None:
    # Too little for int4, enough for what is smaller.
    small = document("n150-8gb", meminfo="MemTotal: 7519531 kB\n")
    wanted = {"profile": "development", "engine": "onnx", "context_length": 2048, "parallel": 7}
    asked = plan(small, quantization="int4_b128", **wanted)
    assert (asked.fits, asked.applicable, asked.rejected) == (True, True, ())
    assert asked.model.artifact == "phi-4-mini-instruct/onnx-int4-b128"
    left = plan(small, **wanted)
    assert not left.fits
    assert "only made for those who ask for it: phi4_quantization=int4_b128" in texts(left)


def test_int4_of_torchao_needs_what_bfloat16_needs(document: Make, plan: Make, pinned: Any) -> None:
    def on(capability: str) -> Plan:
        row = f"0, Some RTX, 8192, 0, 580.1, {capability}, GPU-1"
        return plan(document(GPU, nvidia_smi=row), using=pinned)

    assert (on("8.0").engine, on("8.0").knobs["dtype"]) == ("vllm", "bfloat16")
    turing = on("7.5")
    assert turing.engine == "ollama" and "compute capability 7.5 < 8.0" in texts(turing)


def test_turing_gets_no_bfloat16(document: Make, plan: Make) -> None:
    made = plan(document(GPU, nvidia_smi=SMI.format(used=0, driver="580.1", capability="7.5")))
    assert (made.engine, made.quantization, made.knobs["dtype"]) == ("vllm", "bf16", "float16")


def test_vllm_settings_come_from_free_vram(document: Make, plan: Make) -> None:
    free = plan(document(GPU, nvidia_smi=SMI.format(used=0, driver="580.1", capability="8.6")))
    held = plan(document(GPU, nvidia_smi=SMI.format(used=1024, driver="580.1", capability="8.6")))
    assert (free.knobs["gpu_memory_utilization"], free.knobs["max_num_seqs"]) == (0.95, 5)
    assert (held.knobs["gpu_memory_utilization"], held.knobs["max_num_seqs"]) == (0.86, 3)
    assert free.knobs["gpu"] == "GPU-1"


def test_a_serving_host_with_a_gpu_gets_the_same_plan_although_our_engine_holds_the_memory(
    document: Make, named: Make
) -> None:
    before = named(document(GPU, nvidia_smi=SMI.format(used=500, driver="580.1", capability="8.6")))
    receipt = {
        "format": "phi4-edge/receipt/1", "plan_fingerprint": before.fingerprint, "release": before.release,
        "engine": "vllm", "gpu": "GPU-1", "vram_held_by_others": before.memory.held_by_others,
        "image_disk": before.image.disk,
    }  # fmt: skip
    after = named(
        document(
            GPU,
            nvidia_smi=SMI.format(used=11900, driver="580.1", capability="8.6"),
            receipt=json.dumps({"present": True, "receipt": receipt, "file_count": 3, "drift": []}),
            service="LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled",
        )
    )
    assert (after.fingerprint, after.action, after.changes) == (before.fingerprint, "none", ())


def test_an_engine_of_ours_that_a_killed_run_has_left_is_not_somebody_elses(document: Make, plan: Make) -> None:
    running = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nDescription="
    full = SMI.format(used=11900, driver="580.1", capability="8.6")
    ours = plan(document(GPU, nvidia_smi=full, service=f"{running}Phi-4 on this gateway (vllm bf16)"))
    theirs = plan(document(GPU, nvidia_smi=full, service=f"{running}Somebody else's"))
    assert (ours.engine, ours.memory.held_by_others) == ("vllm", 0)
    assert theirs.accelerator == "cpu"


def test_a_release_stays_on_its_gpu_while_no_other_is_larger(document: Make) -> None:
    card = "{0}, Card, {1}, {2}, 580.1, 8.6, GPU-{0}"
    receipt = {"format": "phi4-edge/receipt/1", "gpu": "GPU-1", "vram_held_by_others": 0}

    def chosen(*cards: str) -> str:
        told = json.dumps({"present": True, "receipt": receipt, "file_count": 1, "drift": []})
        found = parse.parse(document(GPU, nvidia_smi="\n".join(cards), receipt=told))
        return ranked_gpus(found, load_table())[0].uuid

    assert chosen(card.format(0, 12288, 0), card.format(1, 12288, 9000)) == "GPU-1"
    assert chosen(card.format(0, 24576, 0), card.format(1, 12288, 9000)) == "GPU-0"


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("init", "bash offline", "PID 1 is bash, which is no init system, needs systemd"),
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
    assert not asked.fits and "PID 1 is init (OpenRC), needs systemd, also under Compose" in texts(asked)
    later = plan(document("n150-8gb"), service_manager="compose")
    assert later.install.docker and "Docker Engine with its Compose plugin is installed first" in later.prerequisites
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
    assert gpu.engine == "ollama" and "needs 31.0 GB of disk below /var/lib/docker" in texts(gpu)


def test_what_we_installed_counts_as_free(document: Make, plan: Make) -> None:
    lines = "/opt/phi4-edge 60000000000 7500000000 1\n/var/lib/phi4-edge 60000000000 7500000000 1"
    assert plan(document("n150-8gb", disk=lines)).profile == "edge_optimized"
    ours = "/opt/phi4-edge 200000000\n/var/lib/phi4-edge 2400000000"
    made = plan(document("n150-8gb", disk=lines, our_disk=ours))
    assert (made.profile, made.disk.available) == ("production_cpu", 10_100_000_000)


def test_a_gpu_does_not_replace_the_memory_that_its_engine_and_the_chat_page_take(document: Make, plan: Make) -> None:
    small = document("xeon-rtx3060-driver570", meminfo="MemTotal: 5700000 kB")
    assert plan(small).engine == "vllm"
    made = plan(small, webui_enabled=True)
    assert (made.engine, made.accelerator) == ("ollama", "cuda")
    why = "needs 4.0 GB RAM beside the GPU; host has 5.8 GB, 0.8 GB kept for the system and 1.5 GB for the chat page"
    assert made.rejected[0]["reason"] == why
