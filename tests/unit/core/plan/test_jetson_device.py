"""Which GPU is handed over, where the driver writes something else in the place of a UUID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.engines import compose

Make = Callable[..., Any]
PLACEHOLDERS = ("[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]", "")


@pytest.mark.parametrize("uuid", [*PLACEHOLDERS, "GPU-9f0c2a44-1111-5222-8333-abcdefabcdef"])
@pytest.mark.parametrize("manager", ["compose", "systemd"])
def test_a_jetsons_gpu_is_called_all(document: Make, plan: Make, uuid: str, manager: str) -> None:
    smi = f"0, Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A], {uuid}"
    made = plan(document("jetson-orin-nano-8gb", nvidia_smi=smi), service_manager=manager)
    assert made.accelerator == "cuda" and "gpu" not in made.knobs
    assert "CUDA_VISIBLE_DEVICES" not in made.knobs["environment"]
    if manager == "compose":
        shown = compose.document(made.to_dict(), {"engine": "image"}, release_dir="/opt/phi4-edge/releases/r-0")
        devices = shown["services"]["engine"]["deploy"]["resources"]["reservations"]["devices"]
        assert [device["device_ids"] for device in devices] == [["nvidia.com/gpu=all"]]


@pytest.mark.parametrize("uuid", PLACEHOLDERS)
def test_a_placeholder_is_no_uuid_of_a_card_either(document: Make, plan: Make, uuid: str) -> None:
    smi = f"0, NVIDIA GeForce RTX 3060, 12288, 13, 570.172.08, 8.6, {uuid}"
    made = plan(document("xeon-rtx3060-driver570", nvidia_smi=smi))
    assert made.accelerator == "cuda" and "gpu" not in made.knobs


@pytest.mark.parametrize(
    "uuid",
    ["GPU-3f1c9a52-8c1f-6f0e-9f35-5d3b8f9f8a10", "MIG-3f1c9a52-8c1f-6f0e-9f35-5d3b8f9f8a10", "MIG-GPU-3f1c9a52/1/0"],
)
def test_a_uuid_is_kept(document: Make, plan: Make, uuid: str) -> None:
    smi = f"0, NVIDIA GeForce RTX 3060, 12288, 13, 570.172.08, 8.6, {uuid}"
    assert plan(document("xeon-rtx3060-driver570", nvidia_smi=smi)).knobs["gpu"] == uuid
