"""Boards with a GPU of their own, a card, or both; and engines on memory that the host's programs use too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.plan.decide import Plan

Make = Callable[..., Any]
ORIN = "jetson-orin-nano-8gb"
LARGE = {"meminfo": "MemTotal: 64000000 kB\nMemAvailable: 60000000 kB"}
THOR = {
    **LARGE,
    "nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 7",
    "device_tree_compatible": "nvidia,board\nnvidia,tegra264",
    "device_tree_model": "A board with a Thor",
}
BIG_DISK = "/opt/phi4-edge 900000000000 200000000000 1\n/var/lib/phi4-edge 900000000000 200000000000 1"
OWN = "0, Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A], [N/A]"
CARD = "{index}, {name}, {memory}, 5, {driver}, {capability}, GPU-c"
GB10 = "0, NVIDIA GB10, [N/A], [N/A], 580.95.05, 12.1, GPU-u"


def card(
    driver: str, name: str = "NVIDIA RTX A6000", memory: int = 49140, capability: str = "8.6", index: int = 0
) -> str:
    return CARD.format(index=index, name=name, memory=memory, driver=driver, capability=capability)


@pytest.mark.parametrize(
    ("row", "engine", "build", "said"),
    [
        (card("535.183.06"), "vllm", "v0.33.0-cu129", ""),
        (card("580.95.05"), "vllm", "v0.33.0", ""),
        (card("520.1"), "ollama", "aarch64-cpu", "NVIDIA driver 520.1, needs 550 or newer"),
        (card("580.95.05", "Quadro P2000", 5050, "6.1"), "ollama", "aarch64-cuda", "compute capability 6.1 < 7.5"),
        (OWN, "ollama", "aarch64-jetpack6", "no build for Jetson"),
    ],
)
def test_the_gpu_decides_not_the_board_that_it_is_in(
    document: Make, plan: Make, row: str, engine: str, build: str, said: str
) -> None:
    made = plan(document(ORIN, nvidia_smi=row, disk=BIG_DISK, **LARGE))
    text = json.dumps(made.to_dict())
    assert made.engine == engine
    assert made.image.tag == build if made.image else made.runtime.artifact.endswith(build)
    assert said in text and ("Jetson" in said or "no build for Jetson" not in text)


def test_a_card_in_a_board_is_not_forecast_with_the_boards_memory(document: Make, plan: Make) -> None:
    on_board = plan(document(ORIN, nvidia_smi=OWN, **LARGE), engine="ollama")
    on_card = plan(document(ORIN, nvidia_smi=card("580.1", "NVIDIA RTX 4090", 24564, "8.9"), **LARGE), engine="ollama")
    speeds = [each.forecast["decode_tokens_per_second"] for each in (on_board, on_card)]
    assert speeds[1] > 3 * speeds[0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_gpus_the_one_that_an_engine_runs_on_is_taken(
    document: Make, plan: Make, order: tuple[int, int]
) -> None:
    rows = (
        f"{order[0]}, NVIDIA Thor, [N/A], [N/A], 580.1, 11.0, GPU-t",
        card("580.95.05", "NVIDIA RTX PRO 6000 Blackwell", 47887, "12.0", order[1]),
    )
    made = plan(document(ORIN, nvidia_smi="\n".join(sorted(rows)), disk=BIG_DISK, **THOR))
    assert (made.engine, made.knobs["gpu"], made.memory.kind) == ("vllm", "GPU-c", "vram")
    assert made.reasons[0].startswith("NVIDIA Thor is not used: ") and "R35 or R36" in made.reasons[0]
    assert any("Blackwell, 46.8 GiB (one of 2)" in reason for reason in made.reasons)
    assert made.rejected[0]["reason"].startswith("NVIDIA Thor: ")


def test_a_larger_gpu_that_no_engine_runs_on_leaves_the_smaller_one(document: Make, plan: Make) -> None:
    rows = "0, Tesla K40m, 30000, 0, 470.1, 3.5, GPU-k\n1, NVIDIA A2, 15356, 0, 580.1, 8.6, GPU-a"
    made = plan(document("xeon-rtx3060-driver570", nvidia_smi=rows))
    assert (made.engine, made.knobs["gpu"]) == ("vllm", "GPU-a")
    alone = plan(document("xeon-rtx3060-driver570", nvidia_smi=rows.partition("\n")[0]))
    assert alone.accelerator == "cpu" and alone.reasons[0].startswith("Tesla K40m is not used: ")


def shared(document: Make, plan: Make, total: int, available: int, **wishes: Any) -> Plan:
    """A board whose GPU has no memory of its own; sizes in GB."""
    meminfo = f"MemTotal: {total * 10**9 // 1024} kB\nMemAvailable: {available * 10**9 // 1024} kB"
    made: Plan = plan(document("pi4-4gb", nvidia_smi=GB10, meminfo=meminfo, disk=BIG_DISK), engine="vllm", **wishes)
    return made


@pytest.mark.parametrize(
    ("total", "wishes"),
    [(130, {}), (130, {"webui_enabled": True}), (60, {}), (24, {"parallel": 4}), (16, {}), (480, {})],
)
def test_vllm_takes_what_it_needs_of_memory_that_is_the_hosts_too(
    document: Make, plan: Make, total: int, wishes: dict[str, Any]
) -> None:
    made = shared(document, plan, total, total - 4, **wishes)
    assert (made.engine, made.memory.kind) == ("vllm", "unified")
    taken = made.knobs["gpu_memory_utilization"] * made.memory.available
    model = made.memory.weights + made.memory.kv_cache
    assert model < taken <= model + 1_500_000_000 + total * 10**7
    assert taken + made.memory.os_reserve < made.memory.available
    assert taken <= made.memory.ram_need + 1 <= made.knobs["memory_max"]
    assert wishes.get("parallel", 1) <= made.knobs["max_num_seqs"] <= wishes.get("parallel", 1) + 9
    assert made.blockers == ()


@pytest.mark.parametrize(("available", "blocked"), [(30, False), (11, False), (10, True), (2, True)])
def test_what_is_free_now_must_hold_what_vllm_takes_at_once(
    document: Make, plan: Make, available: int, blocked: bool
) -> None:
    made = shared(document, plan, 130, available)
    assert any("of memory available now, needed 10.4 GB for vllm bf16" in text for text in made.blockers) is blocked


def test_a_cards_own_memory_is_taken_whole(document: Make, plan: Make) -> None:
    made = plan(document(ORIN, nvidia_smi=card("580.95.05"), disk=BIG_DISK, **LARGE))
    assert (made.memory.kind, made.knobs["gpu_memory_utilization"]) == ("vram", 0.94)
