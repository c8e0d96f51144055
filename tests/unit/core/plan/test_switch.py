"""How a release takes over: beside the one that serves where both fit, else after it, with the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.plan.decide import Plan

Make = Callable[..., Any]
GPU = "xeon-rtx3060-driver570"
UP = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled"
GB = 10**9


def serving(document: Make, name: str, service: str = UP, **receipt: Any) -> Any:
    body = {"format": "phi4-edge/receipt/1", "plan_fingerprint": "0" * 64, "engine": "onnx", **receipt}
    return document(name, receipt=json.dumps({"present": True, "receipt": body}), service=service)


def memory(total: float, available: float) -> str:
    return f"MemTotal: {int(total * GB) // 1024} kB\nMemAvailable: {int(available * GB) // 1024} kB"


def test_on_a_new_host_nothing_is_interrupted(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"))
    assert (made.switch.mode, made.switch.down_seconds) == ("first", 0)
    stopped = plan(serving(document, "n150-8gb", service=UP.replace("=active", "=inactive"), memory_need=GB))
    assert stopped.action == "change" and stopped.switch.mode == "first"


def test_old_and_new_beside_each_other_where_memory_holds_both(document: Make, plan: Make) -> None:
    found = serving(document, "n150-8gb", memory_need=2 * GB, port=8080)
    made = plan(found)
    assert (made.switch.mode, made.switch.port) == ("beside", 18080)
    assert "keeps serving until the new one has answered on port 18080" in made.switch.reason
    assert made.switch.down_seconds == 15  # the start only: the weights have been read by then


def test_the_old_release_is_stopped_first_where_memory_does_not_hold_both(document: Make, plan: Make) -> None:
    made = plan(serving(document, "n150-8gb", memory_need=5 * GB))
    assert made.switch.mode == "down" and made.switch.down_seconds == 15 + 13
    assert (
        "do not fit in RAM together (5.0 GB and 4.4 GB, 0.8 GB for the system: 10.2 GB of 8.2 GB)" in made.switch.reason
    )
    assert "no answers for about 28 s (an estimate)" in made.switch.reason


@pytest.mark.parametrize(("more", "mode"), [(0, "beside"), (1, "down")])
def test_the_last_byte_decides(document: Make, plan: Make, more: int, mode: str) -> None:
    need = plan(document("n150-8gb")).memory
    at_start = need.ram_need - need.later
    total = 9_000_000 * 1024
    found = serving(document, "n150-8gb", memory_need=total - at_start - need.os_reserve + more)
    found["sources"]["meminfo"] = {"text": f"MemTotal: {total // 1024} kB"}
    assert plan(found).switch.mode == mode


def test_what_the_old_release_takes_must_be_on_record(document: Make, plan: Make) -> None:
    made = plan(serving(document, "n150-8gb"))
    assert made.switch.mode == "down" and "is not on record" in made.switch.reason


def test_what_others_take_of_the_memory_counts_too(document: Make, plan: Make) -> None:
    found = serving(document, "n150-8gb", memory_need=2 * GB)
    found["sources"]["meminfo"] = {"text": memory(8.2, 3)}
    made = plan(found)
    assert made.switch.mode == "down" and "3.0 GB of RAM are available beside the current release" in made.switch.reason


def test_a_gpu_holds_both_or_not(document: Make, plan: Make) -> None:
    def to_ollama(vram: int) -> Plan:
        found = serving(
            document, GPU, memory_need=4 * GB, vram_need=vram, gpu="GPU-1", engine="vllm", vram_held_by_others=0
        )
        found["sources"]["nvidia_smi"] = {"text": "0, NVIDIA GeForce RTX 3060, 12288, 9000, 570.1, 8.6, GPU-1"}
        made: Plan = plan(found, engine="ollama", quantization="q4_0")
        return made

    assert to_ollama(12 * GB).switch.mode == "down"
    assert "do not fit in VRAM together (12.0 GB and 3.6 GB of 12.2 GB)" in to_ollama(12 * GB).switch.reason
    assert to_ollama(5 * GB).switch.mode == "beside"


def test_vllm_takes_its_whole_share_of_the_gpu(document: Make, plan: Make) -> None:
    made = plan(document(GPU))
    assert made.memory.vram_need == int(made.knobs["gpu_memory_utilization"] * 12288 * (1 << 20))
    assert made.memory.ram_need == 4 * GB
    cpu = plan(document("n150-8gb"))
    assert (cpu.memory.ram_need, cpu.memory.vram_need) == (cpu.memory.need, 0)


def test_the_same_release_is_put_right_in_its_place(document: Make, plan: Make) -> None:
    fingerprint = plan(document("n150-8gb")).fingerprint
    body = {"format": "phi4-edge/receipt/1", "plan_fingerprint": fingerprint, "memory_need": GB}
    drift = [{"path": "/opt/phi4-edge/x", "problem": "changed"}]
    found = json.dumps({"present": True, "receipt": body, "drift": drift})
    made = plan(document("n150-8gb", receipt=found, service=UP))
    assert (made.action, made.switch.mode) == ("repair", "down")
    assert "the same release is repaired" in made.switch.reason
    whole = plan(document("n150-8gb", receipt=json.dumps({"present": True, "receipt": body}), service=UP))
    assert (whole.action, whole.switch.mode, whole.switch.port) == ("none", "none", None)


def test_the_rehearsal_takes_the_first_port_that_is_free(document: Make, plan: Make) -> None:
    taken = document("n150-8gb", listening="127.0.0.1 18080\n:: 18081\n10.0.0.1 18083")
    assert plan(taken).switch.port == 18082
    assert plan(taken, port=18082).switch.port == 18084
    assert plan(taken, webui_enabled=True, webui_port=18082).switch.port == 18084


def test_a_slow_board_is_down_for_longer(document: Make, plan: Make) -> None:
    board = plan(serving(document, "pi4-4gb", memory_need=3 * GB)).switch
    assert board.mode == "down" and board.down_seconds == 10 + 59


def test_minutes_are_said_as_minutes(document: Make, plan: Make) -> None:
    found = serving(document, "disk-5gb", memory_need=8 * GB)
    disk = "/opt/phi4-edge 900000000000 90000000000 1\n/var/lib/phi4-edge 900000000000 90000000000 1"
    found["sources"]["disk"] = {"text": disk}
    made = plan(found, engine="vllm", profile="development")
    assert made.engine == "vllm" and made.switch.down_seconds == 140 + 39
    assert "about 3 min (an estimate)" in made.switch.reason
