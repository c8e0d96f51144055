"""What holds for every host: searched for counterexamples by hypothesis."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.core.catalog.table import PROFILES
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Plan, decide
from phi4_edge.core.plan.overrides import QUANTIZATIONS, Overrides
from phi4_edge.data import load_catalog, load_table, schema
from phi4_edge.errors import FactsError
from tests.unit.core.held import whole

HOSTS = Path(__file__).parents[3] / "fixtures" / "hosts"
BASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(HOSTS.glob("*.json"))}
NAMES = sorted({name for base in BASES.values() for name in base["sources"]})
TABLE, CATALOG, VALID = load_table(), load_catalog(), jsonschema.Draft202012Validator(schema("plan"))
INPUTS = whole({"phi-4-mini-instruct/onnx-int4": "c" * 64}, {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64})

LINE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "0, NVIDIA RTX, 24576, 0, 580.1, 8.9, GPU-1", "0, Orin (nvgpu), [N/A], [N/A], 540, 8.7, [N/A]",
            "MemTotal: 99999999999999999999 kB", "memory /x 1", "cpu /x 1 1", "processor : 0", "flags : avx2",
            "/var/lib/phi4-edge 1 1 1", "0-8191", "systemd running", "musl 1", "Linux 6 x86_64",
            "# R36 (release), REVISION: 4",
            "nvidia,tegra234", "0000:01:00.0 0x10de 0x2504 0x030000", "nvidia 1",
            '{"present": true, "receipt": {}}', "v2", "yes", "runc version 1.0.0",
            "28.5.2", "overlay2 io.containerd.snapshotter",
            '{"present": true, "receipt": {"format": "phi4-edge/receipt/1", "memory_need": 1}, "containers": [1]}',
        ]
    ),
)  # fmt: skip
TEXT = st.lists(LINE, max_size=6).map("\n".join)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
ENTRY = st.one_of(st.builds(lambda text: {"text": text}, TEXT), JSON, st.just({"gap": "timeout", "detail": "x"}))
OVERRIDES = st.builds(
    Overrides,
    host=st.just("gw"),
    profile=st.sampled_from(("auto", *PROFILES)),
    engine=st.sampled_from(("auto", *ENGINES)),
    quantization=st.sampled_from(("auto", *QUANTIZATIONS)),
    context_length=st.sampled_from((None, 512, 4096, 32768)),
    parallel=st.sampled_from((1, 2, 16)),
    service_manager=st.sampled_from(("auto", "systemd", "compose")),
    force=st.booleans(),
    threads=st.sampled_from((None, 1, 64)),
    webui_enabled=st.booleans(),
    webui_max_tokens=st.sampled_from((None, 16, 131072)),
    webui_builtin_tools=st.booleans(),
    webui_titles=st.sampled_from((None, True, False)),
    driver_install=st.booleans(),
    image_delivery=st.sampled_from(("push", "registry")),
    accept_below_floor=st.sampled_from(((), ("docker",), ("runc", "nvidia-container-toolkit"))),
    model=st.sampled_from(("phi-4-mini-instruct", "tiny")),
)
BASE = st.sampled_from(sorted(BASES))
GIB = 1 << 30


def plan(document: Any, overrides: Overrides) -> Plan:
    return decide(parse.parse(document), TABLE, CATALOG, overrides, INPUTS)


def with_memory(name: str, size: int) -> Any:
    document = copy.deepcopy(BASES[name])
    document["sources"]["meminfo"] = {"text": f"MemTotal: {size // 1024} kB"}
    return document


def check(made: Plan) -> None:
    text = json.dumps(made.to_dict(), allow_nan=False)
    VALID.validate(made.to_dict())
    assert Plan.from_dict(json.loads(text)).to_dict() == made.to_dict()
    if made.fits:
        assert made.memory is not None and made.knobs is not None and made.context_length is not None
        assert made.forced or made.memory.need + made.memory.os_reserve <= made.memory.available
        assert made.forced or (made.disk is not None and made.disk.need <= made.disk.available + 60 * 10**9)
        assert made.knobs["threads"] >= 1
        assert ("docker" in made.steps) == (made.service_manager == "compose" or made.webui is not None)
        assert (made.runtime is None) == (made.service_manager == "compose") == (made.image is not None)
        assert (made.switch.mode == "none") == (made.switch.port is None)


@settings(max_examples=300)
@given(BASE, st.dictionaries(st.sampled_from(NAMES), ENTRY, max_size=8), OVERRIDES)
def test_no_garbage_in_any_source_raises(name: str, garbage: dict[str, Any], overrides: Overrides) -> None:
    document = {**BASES[name], "sources": {**BASES[name]["sources"], **garbage}}
    try:
        made = plan(document, overrides)
    except FactsError as error:
        assert set(garbage) & {"meminfo", "uname", "disk"}
        assert str(error).isprintable()
        return
    check(made)
    assert json.dumps(parse.parse(document).to_dict(), ensure_ascii=False).isprintable()


@settings(max_examples=100)
@given(JSON)
def test_no_document_at_all_raises_anything_else(document: Any) -> None:
    try:
        parse.loads(json.dumps(document))
    except FactsError as error:
        assert str(error).isprintable()


@settings(max_examples=200)
@given(BASE, OVERRIDES, st.integers(GIB // 2, 40 * GIB))
def test_never_more_memory_than_the_host_has_unless_forced(name: str, overrides: Overrides, size: int) -> None:
    made = plan(with_memory(name, size), overrides)
    check(made)
    if made.fits and made.memory and made.knobs:
        ceiling = parse.parse(with_memory(name, size)).ram_bytes
        page = CATALOG.webui.memory if made.webui else 0
        assert made.knobs["memory_max"] <= max(0, ceiling - (0 if made.forced else TABLE.os_reserve + page))
        if not made.forced and made.memory.kind != "vram":
            assert made.knobs["memory_max"] >= made.memory.need


@settings(max_examples=100)
@given(BASE, OVERRIDES)
def test_equal_arguments_give_equal_plans(name: str, overrides: Overrides) -> None:
    assert plan(BASES[name], overrides) == plan(copy.deepcopy(BASES[name]), overrides)


@settings(max_examples=200)
@given(BASE, OVERRIDES, st.integers(GIB // 2, 20 * GIB), st.integers(0, 20 * GIB))
def test_more_memory_never_turns_a_fit_into_none(name: str, overrides: Overrides, size: int, more: int) -> None:
    if plan(with_memory(name, size), overrides).fits:
        assert plan(with_memory(name, size + more), overrides).fits


@settings(max_examples=100)
@given(BASE, OVERRIDES)
def test_a_host_that_already_runs_our_engine_gets_the_same_plan(name: str, overrides: Overrides) -> None:
    before = plan(BASES[name], overrides)
    if not before.fits or before.model is None or before.disk is None or before.memory is None:
        return
    found, document = parse.parse(BASES[name]), copy.deepcopy(BASES[name])
    page = before.webui.image.disk if before.webui else 0
    image = (before.image.disk if before.image else 0) + page
    taken = min(2_000_000_000, *(disk.free for disk in found.disks))
    # What the image takes is only seen on a filesystem that Docker shares with us.
    shared = found.disk("/var/lib/docker").filesystem == found.disk("/var/lib/phi4-edge").filesystem
    lost = taken + (image if shared else 0)
    lines = [f"{disk.path} {disk.total} {max(0, disk.free - lost)} {disk.filesystem}" for disk in found.disks]
    if any(disk.free < lost for disk in found.disks):
        return
    overrides = dataclasses.replace(overrides, driver_install=False)
    receipt = {
        "format": "phi4-edge/receipt/1", "plan_fingerprint": before.fingerprint, "engine": before.engine,
        "gpu": (before.knobs or {}).get("gpu", ""), "vram_held_by_others": before.memory.held_by_others,
        "webui": {"key": before.webui.image.key} if before.webui else None,
        "image_disk": image if shared else 0, "model": {"digest": before.model.digest or ""},
    }  # fmt: skip
    document["sources"] |= {
        "disk": {"text": "\n".join(lines)},
        "our_disk": {"text": f"/var/lib/phi4-edge {taken}"},
        "receipt": {"text": json.dumps({"present": True, "receipt": receipt, "drift": []})},
        "service": {"text": "LoadState=loaded\nActiveState=active\nUnitFileState=enabled"},
        "listening": {"text": f"{before.bind} {before.port}"},
    }
    after = plan(document, overrides)
    assert (after.fingerprint, after.action, after.blockers) == (before.fingerprint, "none", ())
