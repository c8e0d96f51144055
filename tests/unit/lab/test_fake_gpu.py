"""The simulated GPU: what a host shows, in the words of the real tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi4_edge.errors import LabError
from phi4_edge.lab import fake_gpu, fake_nvidia_smi, profiles

FIELDS = "index,name,memory.total,memory.used,driver_version,compute_cap,uuid"  # as the probe asks
RECORDED = Path(__file__).parents[2] / "fixtures" / "hosts" / "xeon-rtx3060-driver570.json"
CARD = fake_gpu.load("rtx3060-driver570")
ROWS = [dict(row) for row in CARD.nvidia_smi]


def test_the_tool_answers_the_probe_as_the_fixture_of_such_a_host_does() -> None:
    sources = json.loads(RECORDED.read_text(encoding="utf-8"))["sources"]
    code, lines = fake_nvidia_smi.answer([f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"], ROWS)
    assert (code, lines) == (0, [sources["nvidia_smi"]["text"]])


def test_headers_and_units_are_those_of_the_real_tool() -> None:
    code, lines = fake_nvidia_smi.answer(["--query-gpu=name,memory.total,compute_cap", "--format=csv"], ROWS)
    assert code == 0
    assert lines == ["name, memory.total [MiB], compute_cap", "NVIDIA GeForce RTX 3060, 12288 MiB, 8.6"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--query-gpu=name,colour", "--format=csv"], 2, 'Field "colour" is not a valid field to query.'),
        (["-L"], 0, "GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-3f1c9a52-8c1f-6f0e-9f35-5d3b8f9f8a10)"),
        ([], 3, "fake nvidia-smi of the lab: it has no answer to: "),
    ],
)
def test_other_questions(arguments: list[str], code: int, line: str) -> None:
    assert fake_nvidia_smi.answer(arguments, ROWS) == (code, [line])


def test_the_bus_shows_the_card_and_nothing_else(tmp_path: Path) -> None:
    fake_gpu.write_bus(CARD, tmp_path / "pci")
    (device,) = (tmp_path / "pci").iterdir()
    shown = {path.name: path.read_text() for path in device.iterdir()}
    assert shown == {"vendor": "0x10de\n", "device": "0x2504\n", "class": "0x030000\n"}


def test_a_card_without_a_driver_brings_no_tool() -> None:
    assert fake_gpu.load("rtx3060-no-driver").host_files() == {}
    assert CARD.host_files()["usr/local/bin/nvidia-smi"][1] == 0o755


def test_an_unknown_card_is_named_and_profiles_that_simulate_say_so() -> None:
    with pytest.raises(LabError, match="rtx3060-driver570"):
        fake_gpu.load("h200")
    with pytest.raises(LabError, match="no simulated GPU 'x'"):
        profiles.parse("p", {"description": "x", "ram_mib": 2048, "cpus": 2, "fake_gpu": "x"})
    for profile in profiles.load().rows.values():
        assert profile.name.startswith("fake-gpu-") == (profile.fake_gpu is not None)
