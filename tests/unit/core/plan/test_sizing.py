"""Disk and memory as they are really taken: Ollama's own store."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.plan.decide import Inputs

Make = Callable[..., Any]
GB = 10**9
Q4_0, SPARE = 2_330_000_000, 16 << 20
HELD = Inputs({"phi-4-mini-instruct/gguf-q4_0": "9" * 64, "phi-4-mini-instruct/gguf-q8_0": "8" * 64})


def disk(free: int) -> str:
    return "".join(
        f"{path} {60 * GB} {free} 1\n" for path in ("/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker")
    )


def test_ollama_writes_the_weights_twice_more_to_make_its_store_and_keeps_them_once(document: Make, plan: Make) -> None:
    made = plan(document("pi4-4gb"))
    assert (made.engine, made.quantization) == ("ollama", "q4_0")
    assert made.disk.need == 3 * Q4_0 + SPARE + 300_000_000
    assert made.disk.kept == Q4_0 + SPARE + 300_000_000
    assert made.disk.to_write == made.disk.need


def test_a_card_of_16_gb_takes_q4_0_and_its_store(document: Make, plan: Make) -> None:
    # 16 GB of a card's maker, with 5 GB of system on it.
    made = plan(document("pi4-4gb", disk=disk(16 * GB - 5 * GB - 16 * GB // 20)))
    assert made.fits and (made.engine, made.quantization) == ("ollama", "q4_0")
    assert made.disk.need <= made.disk.available


def test_a_disk_that_only_holds_the_model_is_no_fit_with_numbers(document: Make, plan: Make) -> None:
    for free, fits in ((7_306_777_216, True), (7_306_777_215, False)):
        made = plan(document("pi4-4gb", disk=disk(free)))
        assert made.fits is fits
    need = "needs 7.3 GB of disk below /var/lib/phi4-edge and /opt/phi4-edge, 7.1 GB can be used"
    small = plan(document("pi4-4gb", disk=disk(7_100_000_000)))
    assert not small.fits and any(need in text for text in small.missing)


def test_a_larger_quantization_gives_way_to_one_whose_store_the_disk_holds(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb", disk=disk(10_500_000_000)), engine="ollama")
    assert (made.profile, made.quantization) == ("production_cpu", "q4_K_M")
    reason = next(item["reason"] for item in made.rejected if item["quantization"] == "q8_0")
    assert "needs 12.6 GB of disk below /var/lib/phi4-edge and /opt/phi4-edge, 10.5 GB can be used" in reason


def test_under_compose_image_and_store_do_not_take_their_room_at_once(document: Make, plan: Make) -> None:
    wishes = {"engine": "ollama", "quantization": "q4_0", "service_manager": "compose"}
    pushed = plan(document("n150-8gb"), **wishes)
    assert pushed.disk.need == 3 * Q4_0 + SPARE + 4_500_000_000 + 2_000_000_000
    assert pushed.disk == plan(document("n150-8gb"), image_delivery="registry", **wishes).disk


@pytest.mark.parametrize(("same", "writes"), [(True, 0), (False, 2 * Q4_0 + SPARE)])
def test_a_store_that_is_there_is_not_written_again(document: Make, plan: Make, same: bool, writes: int) -> None:
    wanted = plan(document("pi4-4gb"), HELD)
    receipt = {
        "format": "phi4-edge/receipt/1", "model": {"digest": "9" * 64},
        "store": wanted.knobs["store"] if same else "of-other-variants",
    }  # fmt: skip
    there = document("pi4-4gb", receipt=json.dumps({"present": True, "receipt": receipt}))
    assert plan(there, HELD).disk.to_write == writes


def test_only_an_engine_with_a_store_of_its_own_needs_more(document: Make, plan: Make, catalog: Catalog) -> None:
    assert [name for name, engine in catalog.engines.items() if engine.store] == ["ollama"]
    made = plan(document("n150-8gb"))
    assert made.disk.kept == 2_400_000_000 + 300_000_000


@pytest.mark.parametrize(
    ("context", "parallel", "gib"), [(4096, 1, 1), (2048, 1, 1), (4096, 2, 1), (4096, 3, 2), (8192, 4, 4)]
)
def test_vllm_on_a_cpu_is_planned_with_the_pool_that_it_sets_aside(
    document: Make, plan: Make, context: int, parallel: int, gib: int
) -> None:
    wishes = {"engine": "vllm", "quantization": "bf16", "force": True, "context_length": context, "parallel": parallel}
    made = plan(document("n150-8gb"), **wishes)
    assert made.memory.kv_cache == made.knobs["kv_cache_space_gib"] << 30 == gib << 30
    assert made.memory.need == 7_672_043_520 + (gib << 30) + 1_500_000_000
    assert made.knobs["max_num_seqs"] == parallel
    large = plan(document("two-gpus"), **wishes | {"profile": "development"})
    assert large.accelerator == "cpu"
    assert large.memory.need <= large.knobs["memory_max"] <= large.memory.need * 1.15


def test_elsewhere_the_tokens_count(document: Make, plan: Make) -> None:
    made = plan(document("two-gpus"), engine="vllm", context_length=2048)
    assert (made.accelerator, made.memory.kv_cache) == ("cuda", 2048 * 131072)


OURS = ("/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker", "/etc")


def mounts(*rows: tuple[int, int, int]) -> str:
    """The disks of our paths: total, free and device number of each."""
    return "\n".join(f"{path} {total} {free} {number}" for path, (total, free, number) in zip(OURS, rows, strict=True))


def pools(*names: str) -> str:
    return "\n".join(f"{path} {name}" for path, name in zip(OURS, names, strict=True))


SUBVOLUMES = [(40 * GB, 6 * GB - 1, number) for number in (51, 52, 53, 50)]
DATASETS = [(total * GB + 9 * GB, 9 * GB, number) for total, number in ((1, 61), (2, 62), (7, 63), (4, 60))]
THIN = [(30 * GB, free * GB, number) for free, number in ((5, 64), (8, 65), (20, 66), (3, 67))]


@pytest.mark.parametrize(
    ("disks", "named", "available"),
    [
        (SUBVOLUMES, None, 6 * GB - 1),
        (SUBVOLUMES, ("btrfs:/dev/vda3",) * 4, 6 * GB - 1),
        (DATASETS, None, 9 * GB),
        (DATASETS, ("zfs:tank",) * 4, 9 * GB),
        (THIN, ("thin:LVM-a-tpool",) * 4, 8 * GB),
        # Told apart by the probe, however alike they look.
        (SUBVOLUMES, ("device:8:1", "device:8:2", "device:8:3", "device:8:1"), 12 * GB - 2),
    ],
)
def test_what_one_pool_has_free_counts_once_however_often_it_is_mounted(
    document: Make, plan: Make, disks: Any, named: tuple[str, ...] | None, available: int
) -> None:
    made = plan(document("n150-8gb", disk=mounts(*disks), disk_pool=pools(*named) if named else None))
    if made.fits:
        assert made.disk.available == available
    else:
        assert available < 6 * GB and any("disk: 6.0 GB can be used" in text for text in made.missing)


def test_an_engine_whose_image_shares_the_pool_of_the_models_must_fit_beside_them(document: Make, plan: Make) -> None:
    def on(*numbers: int) -> Any:
        disks = mounts(*((70 * GB, 40 * GB, number) for number in numbers))
        return plan(document("two-gpus", disk=disks))

    assert on(41, 42, 43, 40).engine == on(1, 1, 1, 1).engine == "ollama"
    apart = mounts(*((70 * GB, free * GB, number) for free, number in ((40, 41), (39, 42), (38, 43), (40, 41))))
    assert plan(document("two-gpus", disk=apart)).engine == "vllm"


def test_a_quota_on_one_dataset_does_not_shrink_the_rest_of_its_pool(document: Make, plan: Make) -> None:
    disks = mounts((9 * GB, 3 * GB, 1), (90 * GB, 60 * GB, 2), (90 * GB, 60 * GB, 3), (90 * GB, 60 * GB, 4))
    made = plan(document("n150-8gb", disk=disks, disk_pool=pools(*["zfs:tank"] * 4)))
    assert (made.engine, made.disk.available) == ("onnx", 60 * GB)
    tight = mounts((9 * GB, GB // 10, 1), (90 * GB, 60 * GB, 2), (90 * GB, 60 * GB, 3), (90 * GB, 60 * GB, 4))
    small = plan(document("n150-8gb", disk=tight, disk_pool=pools(*["zfs:tank"] * 4)), engine="onnx")
    assert not small.fits and "of disk below /opt/phi4-edge, 0.1 GB can be used" in " ".join(small.missing)
