"""The Compose document of every engine on every fixture that it fits: checked in as golden files, and held to rules.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/engines/test_compose.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.engines import compose
from phi4_edge.core.engines.confinement import escaped, http_health
from phi4_edge.core.engines.onnx import PYTHON
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table
from tests.unit.core.fixture_hosts import HOSTS, read

GOLDEN = Path(__file__).parents[3] / "golden"
IMAGE = "sha256:" + "1" * 64
NAMES = ("onnx-int4", "safetensors", "safetensors-int4", "gguf-q8_0", "gguf-q4_K_M", "gguf-q4_0")
INPUTS = Inputs(
    {f"phi-4-mini-instruct/{name}": "d" * 64 for name in NAMES}, dict.fromkeys(("onnx", "ollama", "vllm"), "e" * 64)
)
CHOICES = ({"engine": "onnx"}, {"engine": "ollama"}, {"engine": "vllm"}, {"engine": "vllm", "quantization": "int4"})
HARDENED = {
    "user": "65532:65532", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"],
    "ipc": "private", "init": True, "pull_policy": "never", "restart": "on-failure:5", "ulimits": {"core": 0},
}  # fmt: skip


def plans() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every deployment on every fixture that it fits, as "<host>/<engine>-<quantization>", with its plan."""
    table, catalog = load_table(), load_catalog()
    for path in sorted(HOSTS.glob("*.json")):
        found = parse.parse(read(path.stem))
        for choice in CHOICES:
            variables = {"phi4_service_manager": "compose", **{f"phi4_{key}": value for key, value in choice.items()}}
            plan = decide(found, table, catalog, Overrides.from_vars(path.stem, variables), INPUTS)
            if plan.fits:
                # The fingerprint changes with every file of ours.
                yield f"{path.stem}/{plan.engine}-{plan.quantization}", {**plan.to_dict(), "release": "r-000000000000"}


PLANS = dict(plans())


def composed(plan: dict[str, Any], **other: Any) -> dict[str, Any]:
    return compose.document(plan, {"engine": IMAGE}, release_dir=f"/opt/phi4-edge/releases/{plan['release']}", **other)


def engine(plan: dict[str, Any], **other: Any) -> dict[str, Any]:
    service: dict[str, Any] = composed(plan, **other)["services"]["engine"]
    return service


@pytest.mark.parametrize("name", PLANS)
def test_document_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / name / "compose.yml"
    text = yaml.safe_dump(composed(PLANS[name]), sort_keys=False, width=120)
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


def test_there_is_no_golden_document_without_its_plan() -> None:
    assert {path.parent.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("*/*/compose.yml")} == set(PLANS)


def test_every_engine_is_there_on_cpu_and_on_gpu_where_it_has_one() -> None:
    assert {(plan["engine"], plan["accelerator"]) for plan in PLANS.values()} == {
        ("onnx", "cpu"), ("ollama", "cpu"), ("ollama", "cuda"), ("vllm", "cpu"), ("vllm", "cuda")
    }  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_every_container_is_held_in(name: str) -> None:
    plan, service = PLANS[name], engine(PLANS[name])
    assert {key: service[key] for key in HARDENED} == HARDENED
    assert service["mem_limit"] == service["memswap_limit"] == plan["knobs"]["memory_max"]
    assert service["cpus"] == plan["knobs"]["threads"]
    assert 0 < service["pids_limit"] <= 1024
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices", "container_name", "env_file"} & set(service)
    assert all(volume["read_only"] and volume["bind"] == {"create_host_path": False} for volume in service["volumes"])
    assert all(",nosuid,nodev,size=" in place and ",uid=65532," in place for place in service["tmpfs"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["labels"] == {"phi4-edge.release": plan["release"], "phi4-edge.service": "engine"}


@pytest.mark.parametrize("name", PLANS)
def test_only_the_planned_address_is_published(name: str) -> None:
    plan, service = PLANS[name], engine(PLANS[name])
    assert service["ports"] == [
        {"mode": "host", "host_ip": "127.0.0.1", "published": str(plan["port"]),
         "target": plan["knobs"]["container_port"], "protocol": "tcp"}
    ]  # fmt: skip
    options = composed(plan)["networks"]["engine"]["driver_opts"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"


@pytest.mark.parametrize("name", PLANS)
def test_a_gpu_is_named_by_its_uuid_and_given_to_nobody_else(name: str) -> None:
    plan, service = PLANS[name], engine(PLANS[name])
    assert service["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    if plan["accelerator"] == "cpu":
        assert "deploy" not in service
        return
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "cdi"
    assert device["device_ids"] == [f"nvidia.com/gpu={plan['knobs'].get('gpu', 'all')}"]


def test_an_ipv6_address_is_published_as_it_is() -> None:
    plan = {**PLANS["n150-8gb/onnx-int4"], "bind": "::1"}
    assert engine(plan)["ports"][0]["host_ip"] == "::1"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        engine({**PLANS["n150-8gb/onnx-int4"], "bind": ""})


def test_a_rehearsal_listens_on_loopback_alone_and_is_another_project() -> None:
    plan = {**PLANS["n150-8gb/onnx-int4"], "bind": "0.0.0.0"}
    made = composed(plan, port=18080, project="phi4-edge-rehearsal")
    service = made["services"]["engine"]
    assert made["name"] == "phi4-edge-rehearsal"
    assert (service["ports"][0]["host_ip"], service["ports"][0]["published"]) == ("127.0.0.1", "18080")
    assert service["labels"]["phi4-edge.service"] == "rehearsal"
    assert service["environment"] == engine(plan)["environment"]


def test_what_keys_have_used_outlasts_the_container_and_no_rehearsal_touches_it() -> None:
    plan = {**PLANS["n150-8gb/onnx-int4"], "gateway": {"bind": "0.0.0.0", "port": 8443}}
    served, without = composed(plan)["services"]["engine"], engine({**plan, "gateway": None})
    [kept] = [one for one in served["volumes"] if one not in without["volumes"]]
    assert (kept["source"], kept["target"], kept["read_only"]) == (*["/var/lib/phi4-edge/key-usage"] * 2, False)
    assert served["environment"]["PHI4_KEY_USAGE"] == "/var/lib/phi4-edge/key-usage"
    rehearsed = composed(plan, port=18080, project="phi4-edge-rehearsal")["services"]["engine"]
    for one in (without, rehearsed):
        assert "PHI4_KEY_USAGE" not in one["environment"]
        assert all(volume["read_only"] for volume in one["volumes"])


def test_a_dollar_reaches_the_container_as_one() -> None:
    assert escaped({"A": "a$b${c}$$", "B": 1}) == {"A": "a$$b$${c}$$$$", "B": "1"}


def test_vllm_is_given_the_model_by_name_and_no_quantization() -> None:
    for name, plan in PLANS.items():
        if plan["engine"] == "vllm":
            service = engine(plan)
            command = service["command"]
            assert service["entrypoint"] == ["python3", "-m", "vllm.entrypoints.openai.api_server"], name
            assert command[:2] == ["--model", f"/var/lib/phi4-edge/models/{'d' * 64}"], name
            assert not {"serve", "--quantization", "--trust-remote-code"} & set(command), name
            assert {"--enforce-eager", "--enable-auto-tool-choice"} <= set(command), name
            assert ("--gpu-memory-utilization" in command) == (plan["accelerator"] == "cuda"), name
            assert ("VLLM_CPU_KVCACHE_SPACE" in service["environment"]) == (plan["accelerator"] == "cpu"), name


def test_a_kernel_compiler_may_run_what_it_writes_and_nobody_else() -> None:
    for name, plan in PLANS.items():
        places = engine(plan)["tmpfs"]
        assert [":rw,exec," in place for place in places] == [False, plan["engine"] == "vllm"], name


def test_health_is_asked_without_curl() -> None:
    for name, plan in PLANS.items():
        test = engine(plan)["healthcheck"]["test"]
        assert test[0] == "CMD", name
        assert test[1] in ("python3", "/opt/phi4-edge/engine/bin/python", "ollama"), name
    assert "http://127.0.0.1:8000/health" in http_health(8000)[-1]
    asked = ENGINES["onnx"].contained.health(8080)
    assert asked[:2] == ["CMD", PYTHON]
    assert "http://127.0.0.1:8080/health" in asked[-1]


def test_the_chat_page_reaches_the_engine_and_listens_where_it_is_planned() -> None:
    page = {
        "image": {}, "port": 3000, "bind": "127.0.0.1", "max_tokens": None, "builtin_tools": False, "titles": False,
        "follow_ups": False, "tags": False,
    }  # fmt: skip
    made = compose.webui_document({**PLANS["n150-8gb/onnx-int4"], "webui": page}, IMAGE, memory=10**9, start="x = '$1'")
    service = made["services"]["webui"]
    assert made["name"] == "phi4-edge-webui"
    assert {key: service[key] for key in HARDENED} == HARDENED
    assert service["environment"]["OPENAI_API_BASE_URL"] == "http://127.0.0.1:8080/v1"
    assert (service["environment"]["HOST"], service["environment"]["PORT"]) == ("127.0.0.1", "3000")
    assert [volume["source"] for volume in service["volumes"] if not volume["read_only"]] == [
        "/var/lib/phi4-edge/webui"
    ]
    assert service["entrypoint"] == ["python3", "-c", "x = '$$1'"]
    assert "ports" not in service
    compile(service["entrypoint"][2], "start", "exec")
