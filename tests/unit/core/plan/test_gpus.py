"""GPUs that cannot be used, or not as they look: what the plan says of each, and which one it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
SMI = "0, NVIDIA GeForce RTX 3060, 12288, {used}, {driver}, {capability}, GPU-1"
GPU = "xeon-rtx3060-driver570"

UNANSWERED = {
    'exit status 2: Field "compute_cap" is not a valid field to query.': "update the driver",
    "exit status 15: Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost": "reboot the host",
    "exit status 4: Insufficient Permissions": "look as root",
    "exit status 1: something else": "run nvidia-smi on the host",
}


@pytest.mark.parametrize("said", UNANSWERED)
def test_what_nvidia_smi_said_is_quoted_with_what_to_do(document: Make, plan: Make, said: str) -> None:
    made = plan(document(GPU, nvidia_smi={"gap": "failed", "detail": said}))
    assert (made.accelerator, made.reasons[0]) == (
        "cpu",
        f"found NVIDIA GPU 10de:2504 whose driver gives no usable answer: {said.rstrip('.')}; "
        + made.reasons[0].rpartition("; ")[2],
    )
    assert made.reasons[0].rpartition("; ")[2].startswith(UNANSWERED[said])


def test_a_driver_that_does_not_tell_the_capability_is_told_to_be_too_old(document: Make, plan: Make) -> None:
    row = SMI.format(used=0, driver="470.223.02", capability="[Unknown Field]")
    made = plan(document(GPU, nvidia_smi=row))
    said = {item["engine"]: item["reason"] for item in made.rejected if item["quantization"] in ("bf16", "q8_0")}
    assert said == {
        "vllm": "NVIDIA driver 470.223.2, needs 525 or newer",
        "ollama": "NVIDIA driver 470.223.2, needs 550 or newer",
    }


@pytest.mark.parametrize(
    ("memory", "modes", "said"),
    [
        ("40960", "0, Enabled, Default", "found NVIDIA A100 in MIG mode, which phi4-edge does not use; needs MIG off"),
        ("[Insufficient Permissions]", "0, Enabled, Default", "found NVIDIA A100 in MIG mode"),
        ("[Insufficient Permissions]", None, "that answers [Insufficient Permissions] when asked for its memory; look"),
        (
            "40960",
            "0, [N/A], Prohibited",
            "in compute mode Prohibited, in which no process may use it; nvidia-smi -i 0",
        ),
        ("[GPU requires reset]", None, "reset it (nvidia-smi --gpu-reset) or reboot the host"),
    ],
)
def test_a_gpu_that_no_engine_can_use_is_named_and_another_one_is_used(
    document: Make, plan: Make, memory: str, modes: str | None, said: str
) -> None:
    first, second = (
        f"0, NVIDIA A100, {memory}, {memory}, 580.1, 8.0, GPU-1",
        "1, NVIDIA A2, 15356, 0, 580.1, 8.6, GPU-2",
    )
    alone = plan(document(GPU, nvidia_smi=first, nvidia_modes=modes))
    assert alone.accelerator == "cpu" and said in alone.reasons[0]
    both = plan(document(GPU, nvidia_smi=f"{first}\n{second}", nvidia_modes=modes))
    assert both.knobs["gpu"] == "GPU-2"
    assert both.reasons[0].startswith("not used: NVIDIA A100") and said.removeprefix("found ") in both.reasons[0]


def test_what_nvidia_smi_warns_of_is_a_warning(document: Make, plan: Make) -> None:
    row = SMI.format(used=0, driver="580.1", capability="8.6")
    made = plan(document(GPU, nvidia_smi=f"{row}\nWARNING: infoROM is corrupted\nexit status 14"))
    assert made.accelerator == "cuda"
    assert made.warnings[-2:] == ("nvidia-smi: WARNING: infoROM is corrupted", "nvidia-smi: exit status 14")
    shared = plan(document(GPU, nvidia_smi=row, nvidia_modes="0, [N/A], Exclusive_Process"))
    assert any("is in an exclusive compute mode" in text for text in shared.warnings)
