"""What nvidia-smi says of each GPU: rows, errors in their place, modes, and what it says beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.parse import parse

Make = Callable[..., Any]
UUID = "GPU-0a1b2c3d-0000-1111-2222-{:012d}"
SERVER = "xeon-rtx3060-driver570"
ARM = {"uname": "Linux 6.8.0 aarch64"}


def row(index: int, name: str, memory: str, driver: str = "580.95.05", capability: str = "8.6") -> str:
    used = memory if memory.startswith("[") else "10"
    return f"{index}, {name}, {memory}, {used}, {driver}, {capability}, {UUID.format(index)}"


def looked(document: Make, *rows: str, fixture: str = SERVER, **sources: Any) -> HostFacts:
    return parse(document(fixture, nvidia_smi="\n".join(rows), **sources))


@pytest.mark.parametrize(
    "error", ["[Insufficient Permissions]", "[Unknown Error]", "[GPU requires reset]", "[GPU is lost]"]
)
@pytest.mark.parametrize("architecture", ["aarch64", "x86_64"])
def test_an_error_in_place_of_the_memory_is_no_memory(document: Make, error: str, architecture: str) -> None:
    rows = row(0, "NVIDIA A30", error), row(1, "NVIDIA L4", "23034", capability="8.9")
    found = looked(document, *rows, uname=f"Linux 6.8.0 {architecture}").nvidia
    assert [(gpu.name, gpu.unified) for gpu in found.gpus] == [("NVIDIA L4", False)]
    assert [(gpu.name, gpu.problem, gpu.said) for gpu in found.unusable] == [("NVIDIA A30", "memory", error)]
    alone = looked(document, rows[0], uname=f"Linux 6.8.0 {architecture}").nvidia
    assert (alone.state, alone.gpus) == ("unusable", ())


@pytest.mark.parametrize(
    ("fixture", "name", "text", "unified"),
    [
        ("pi4-4gb", "NVIDIA GB10", "[N/A]", True),
        ("pi4-4gb", "NVIDIA GB10", "[Not Supported]", True),
        ("pi4-4gb", "NVIDIA GB10", "[Unknown Error]", False),
        ("pi4-4gb", "NVIDIA GH200 480GB", "[N/A]", False),
        ("pi4-4gb", "NVIDIA A100-PCIE-40GB", "[Not Supported]", False),
        ("jetson-orin-nano-8gb", "Orin (nvgpu)", "[N/A]", True),
        ("jetson-orin-nano-8gb", "NVIDIA RTX A6000", "[N/A]", False),
        ("jetson-orin-nano-8gb", "Orin (nvgpu)", "[GPU requires reset]", False),
        ("n150-8gb", "NVIDIA GB10", "[N/A]", False),
    ],
)
def test_memory_is_shared_only_where_the_processor_is_known_for_it(
    document: Make, fixture: str, name: str, text: str, unified: bool
) -> None:
    found = looked(document, row(0, name, text), fixture=fixture)
    assert [gpu.unified for gpu in found.nvidia.gpus] == ([True] if unified else [])
    assert len(found.nvidia.unusable) == (0 if unified else 1)


@pytest.mark.parametrize(
    ("modes", "usable", "problems"),
    [
        ("0, Enabled, Default\n1, Disabled, Default", [1], ["mig"]),
        ("0, Disabled, Prohibited\n1, [N/A], Default", [1], ["prohibited"]),
        ("0, Enabled, Default\n1, Enabled, Default", [], ["mig", "mig"]),
        ("0, Disabled, Exclusive_Process\n1, Disabled, Default", [0, 1], []),
        ("0, [Unknown Field], Prohibited\n1, [Unknown Field], Default", [1], ["prohibited"]),
        ("1, Enabled, Default", [0], ["mig"]),
        ("nonsense\n0, Enabled", [0, 1], []),
        ({"gap": "failed", "detail": "exit status 9"}, [0, 1], []),
        (None, [0, 1], []),
    ],
)
def test_a_row_is_a_gpu_only_where_its_modes_let_a_process_use_it(
    document: Make, modes: Any, usable: list[int], problems: list[str]
) -> None:
    rows = row(0, "NVIDIA A100-SXM4-40GB", "40960"), row(1, "NVIDIA A2", "15356")
    found = looked(document, *rows, nvidia_modes=modes).nvidia
    assert [gpu.index for gpu in found.gpus] == usable
    assert [gpu.problem for gpu in found.unusable] == problems
    assert [gpu.index for gpu in found.gpus if gpu.exclusive] == ([0] if "Exclusive" in str(modes) else [])


def test_a_divided_gpu_that_denies_its_memory_is_named_as_divided(document: Make) -> None:
    found = looked(document, row(0, "NVIDIA A100", "[Insufficient Permissions]"), nvidia_modes="0, Enabled, Default")
    assert [gpu.problem for gpu in found.nvidia.unusable] == ["mig"]


@pytest.mark.parametrize(
    ("said", "remarks"),
    [
        (["exit status 14", "WARNING: infoROM is corrupted at gpu 0000:65:00.0"], 2),
        (["Unable to determine the device handle for GPU 0000:66:00.0: GPU is lost.", "exit status 15"], 2),
        ([], 0),
    ],
)
def test_rows_count_whatever_else_is_said(document: Make, said: list[str], remarks: int) -> None:
    found = looked(document, row(0, "NVIDIA L4", "23034"), *said).nvidia
    assert (found.state, [gpu.uuid for gpu in found.gpus]) == ("usable", [UUID.format(0)])
    assert len(found.remarks) == remarks


def test_rows_within_the_reason_of_a_gap_count(document: Make) -> None:
    """Probes until this release took every exit status but 0 for a failure."""
    detail = f"exit status 14: {row(0, 'NVIDIA L4', '23034')}\n{row(1, 'NVIDIA L4', '23034')[:40]}"
    found = parse(document(SERVER, nvidia_smi={"gap": "failed", "detail": detail})).nvidia
    assert [(gpu.name, gpu.uuid) for gpu in found.gpus] == [("NVIDIA L4", UUID.format(0))]
    assert found.remarks[0] == "exit status 14"


def test_what_is_no_row_stays_a_gap(document: Make) -> None:
    for said in (
        "exit status 14: WARNING: infoROM is corrupted",
        "exit status 2: 0, a, b",
        "exit status 9: No devices",
    ):
        found = parse(document(SERVER, nvidia_smi={"gap": "failed", "detail": said}))
        assert (found.nvidia.state, found.nvidia.gpus, found.nvidia.remarks) == ("unreadable", (), ())
        assert "nvidia_smi" in {gap.source for gap in found.gaps}
