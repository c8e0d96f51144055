"""The vLLM role: what it refuses of a checkpoint, and the files of its release, on this machine as the host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import Played, play, write_inventory, write_playbook

checkpoint = load("vllm", "checkpoint")
AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4}}
TORCHAO = {"quantization_config": {"quant_method": "torchao", "quant_type": {"default": {}}}}


def model(folder: Path, config: object, *names: str) -> str:
    root = folder / "model"
    root.mkdir()
    (root / "config.json").write_text(json.dumps(config))
    for name in names or ("model.safetensors",):
        (root / name).write_bytes(b"")
    return str(root)


def checked(root: str, quantization: str, check: bool = False) -> dict[str, Any]:
    return dict(checkpoint.check({"model": root, "quantization": quantization, "check": check}, b""))


@pytest.mark.parametrize(
    ("config", "planned", "method"),
    [({}, "bf16", "bf16"), (AWQ, "int4", "awq"), (TORCHAO, "int4", "torchao"),
     ({"compression_config": {"quant_method": "compressed-tensors"}}, "int4", "compressed-tensors")],
)  # fmt: skip
def test_a_checkpoint_that_is_what_was_planned_passes(
    tmp_path: Path, config: dict[str, Any], planned: str, method: str
) -> None:
    assert checked(model(tmp_path, config), planned) == {"changed": False, "method": method}


@pytest.mark.parametrize(
    ("config", "planned", "names", "said"),
    [
        (AWQ, "bf16", (), "found weights quantized by awq in .*, needed plain ones for the planned bf16"),
        ({}, "int4", (), "found weights that are not quantized in .*, needed quantized ones for the planned int4"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "int4", (), "found weights of 8 bits"),
        ({}, "bf16", ("model.safetensors", "modeling_phi3.py"), "found modeling_phi3.py in"),
        ({}, "bf16", ("pytorch_model.bin",), "found pytorch_model.bin in"),
        ({}, "bf16", ("README.md",), "found no .safetensors file"),
        ([], "bf16", (), "found no readable config.json"),
    ],
)
def test_any_other_is_refused_by_name(
    tmp_path: Path, config: object, planned: str, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(hostlib.HostError, match=said) as refused:
        checked(model(tmp_path, config, *names), planned)
    assert "model fetch" in str(refused.value)


def test_what_is_not_pushed_yet_is_no_fault_in_check_mode(tmp_path: Path) -> None:
    assert checked(str(tmp_path / "none"), "bf16", check=True)["changed"] is False
    with pytest.raises(hostlib.HostError, match="found no readable config"):
        checked(str(tmp_path / "none"), "bf16")


def applied(folder: Path, plan: dict[str, Any], *options: str) -> Played:
    """How the role ended on this machine, with its folders below `folder`."""
    # The names of the role are its own constants; a play's variables of higher rank stand in for them.
    playbook = write_playbook(
        folder,
        {"name": "Facts", "ansible.builtin.set_fact": {
            "phi4_plan": plan, "phi4_images": {"engine": "sha256:" + "1" * 64}, "cacheable": True}},
        {"name": "Apply", "ansible.builtin.include_role": {"name": "phi4_edge.edge.vllm"}},
    )  # fmt: skip
    extra = json.dumps({"__vllm_root": str(folder / "opt"), "__vllm_state": str(folder / "var")})
    return play(playbook, write_inventory(folder, {"here": {}}), "--extra-vars", extra, *options)


def test_the_role_stages_its_link_once(tmp_path: Path) -> None:
    models = tmp_path / "var" / "models"
    models.mkdir(parents=True)
    Path(model(models, {})).rename(models / ("d" * 64))
    plan = {
        "engine": "vllm", "service_manager": "compose", "quantization": "bf16", "release": "r-111111111111",
        "model": {"digest": "d" * 64},
    }  # fmt: skip
    first = applied(tmp_path, plan)
    assert first.status == 0, first.output
    assert first.recap("here")["changed"] == 1
    release = tmp_path / "opt" / "releases" / "r-111111111111"
    assert (release / "model").resolve() == models / ("d" * 64)
    assert applied(tmp_path, plan, "--check").recap("here")["changed"] == 0
    refused = applied(tmp_path, {**plan, "quantization": "int4"})
    assert refused.status != 0
    assert "needed quantized ones for the planned int4" in " ".join(refused.output.split())
