"""Inventory variables: what is taken, and how a mistake is named."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.plan.overrides import EXTRA, VARIABLES, Overrides
from phi4_edge.errors import InventoryError

# Every variable, as an INI inventory gives it.
TEXTS = {
    "phi4_profile": "Edge_Optimized",
    "phi4_engine": " OLLAMA ",
    "phi4_quantization": "q4_k_m",
    "phi4_prefer": "Speed",
    "phi4_context_length": "2048",
    "phi4_parallel": "2",
    "phi4_service_manager": "compose",
    "phi4_port": "9000",
    "phi4_bind": "::1",
    "phi4_force": "yes",
    "phi4_model": "tiny",
    **{"phi4_threads": "auto", "phi4_max_tokens": "512"},
    "phi4_stability_seconds": "2.5",
    "phi4_selfheal": "yes",
    **{"phi4_root": "/data/phi4", "phi4_state": "/data/phi4-state"},
    "phi4_variants": '{"terse": {"system": "Be brief."}, "phi4-mini-coder": null}',
    "phi4_image_delivery": "Registry",
    "phi4_image_mirror": "mirror.example:5000/edge/",
    "phi4_accept_below_floor": "docker, RUNC",
    "phi4_allowed_hosts": "GW1.example, 192.0.2.7, gw1.example.",
    "phi4_cors_origins": "HTTPS://Chat.example:3000, http://[2001:db8::7],https://chat.example:3000",
    **{
        "phi4_connections": "64",
        "phi4_deadline_seconds": "90",
        "phi4_metrics": "off",
        "phi4_prefix_cache": "no",
        "phi4_repacked": "yes",
    },
    **{"phi4_open": "no", "phi4_gateway": "true", "phi4_gateway_port": "443", "phi4_gateway_tls": "no"},
    **{"phi4_gateway_keys": "keys.txt", "phi4_gateway_certificate": "/pki/gw1.pem", "phi4_gateway_client_ca": "None"},
    **{"phi4_gateway_certificate_key": "None", "phi4_gateway_names": "Door.example", "phi4_gateway_queue": "32"},
    "phi4_worker": "ops@jump.example:2222",
    "webui_enabled": "true",
    "webui_port": "3001",
    "webui_max_tokens": "500",
    "webui_builtin_tools": "yes",
    "webui_titles": "No",
    "webui_follow_ups": "on",
    "webui_tags": "1",
    "nvidia_runtime_driver_install": "no",
    "phi4_docker_daemon": '{"data-root": "/mnt/nvme//docker/", "live-restore": true}',
}


def test_defaults_ask_for_nothing() -> None:
    assert Overrides.from_vars("gw1", {"ansible_host": "x", "phi5_engine": 1}) == Overrides(host="gw1")
    assert Overrides().asks == ()


def test_every_variable_is_a_field_and_takes_text_as_ini_gives_it() -> None:
    assert set(TEXTS) == {*VARIABLES, *EXTRA}
    found = Overrides.from_vars("gw1", TEXTS)
    assert found == Overrides(
        "gw1", "edge_optimized", "ollama", "q4_K_M", 2048, 2, "compose", 9000, "::1", True, "tiny", None, 512, 2.5,
        {"terse": {"from": "phi-4-mini-instruct", "parameters": {}, "system": "Be brief."}, "phi4-mini-coder": None},
        "registry", "mirror.example:5000/edge", ("docker", "runc"), True, 3001, False,
        "ops@jump.example:2222", "/data/phi4", "/data/phi4-state", ("gw1.example", "192.0.2.7"),
        500, True, False, True, True, docker_root="/mnt/nvme/docker", selfheal=True, prefer="speed",
        cors_origins=("https://chat.example:3000", "http://[2001:db8::7]"),
        connections=64, deadline_seconds=90, metrics=False, prefix_cache=False, repacked=True,
        gateway=True, gateway_port=443, gateway_tls=False, gateway_keys="keys.txt", gateway_certificate="/pki/gw1.pem",
        gateway_names=("door.example",), gateway_queue=32,
    )  # fmt: skip
    assert found.asks == (
        "phi4_profile=edge_optimized",
        "phi4_engine=ollama",
        "phi4_quantization=q4_K_M",
        "phi4_context_length=2048",
        "phi4_parallel=2",
        "phi4_service_manager=compose",
    )


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("phi4_engin", "onnx", r"phi4_engin is not a variable of phi4-edge \(did you mean phi4_engine\?\)\. Correct"),
        ("phi4_xyz", 1, "phi4_xyz is not a variable of phi4-edge"),
        ("phi4_engine", "vlm", r"needed one of auto, onnx, ollama, vllm \(did you mean vllm\?\)\. Correct"),
        ("phi4_engine", None, "phi4_engine: found None"),
        ("phi4_context_length", 100, "needed auto or a whole number from 512 to 131072"),
        ("phi4_context_length", "4k", "found '4k'"),
        ("phi4_context_length", True, "phi4_context_length: found True"),
        ("phi4_parallel", "four", "auto or a whole number from 1 to 256"),
        ("phi4_port", 65536, "from 1 to 65535"),
        ("phi4_port", "٨٠", "phi4_port"),
        ("phi4_port", 80.5, "phi4_port"),
        ("phi4_bind", "localhost", "an IP address"),
        ("phi4_bind", "224.0.0.1", "an IP address"),
        ("webui_titles", "maybe", "needed auto or true or false"),
        ("webui_max_tokens", 15, "needed auto or a whole number from 16 to 131072"),
        ("webui_tags", "auto", "needed true or false"),
        ("phi4_bind", "fe80::1%eth0", "an IP address"),
        ("phi4_prefer", "sped", r"needed one of listed, speed, memory \(did you mean speed\?\)"),
        ("phi4_force", "maybe", "needed true or false"),
        ("phi4_stability_seconds", "nan", "a number of seconds"),
        ("phi4_allowed_hosts", "http://gw1.example", "host names and addresses without ports"),
        ("phi4_allowed_hosts", "gw1.example:8080", "host names and addresses without ports"),
        ("phi4_allowed_hosts", "*", "host names and addresses without ports"),
        ("phi4_allowed_hosts", ["gw1", 7], "host names and addresses without ports"),
        ("phi4_allowed_hosts", "1.2.3.4.5", "host names and addresses without ports"),
        ("phi4_allowed_hosts", [f"gw{n}" for n in range(33)], "up to 32 host names"),
        ("phi4_allowed_hosts", 'a"; $(id)', "host names and addresses without ports"),
        ("phi4_worker", "-oProxyCommand=x", "none, or a worker"),
        ("phi4_worker", "two words", "none, or a worker"),
        ("phi4_stability_seconds", False, "a number of seconds"),
        ("phi4_stability_seconds", [], "a number of seconds"),
        ("phi4_model", "phi-4", "needed one of phi-4-mini-instruct, tiny"),
        ("phi4_\x1b[31m", 1, r"phi4_\[31m is not"),
    ],
)
def test_a_mistake_is_named(name: str, value: Any, named: str) -> None:
    with pytest.raises(InventoryError, match=named) as raised:
        Overrides.from_vars("gw1", {name: value})
    assert str(raised.value).startswith("gw1: ")
    assert raised.value.exit_code == 1


def test_all_mistakes_of_a_host_are_named_at_once() -> None:
    with pytest.raises(InventoryError, match=r"phi4_a .*phi4_port: .*phi4_bind: "):
        Overrides.from_vars("gw1", {"phi4_a": 1, "phi4_port": 0, "phi4_bind": "x", "phi4_force": True})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("phi4_prot", "phi4_port"), ("phi4_rooot", "phi4_root"), ("phi4_roto", "phi4_root"),
        ("phi4_stat", "phi4_state"),
        ("phi4_bnid", "phi4_bind"), ("phi4_modle", "phi4_model"), ("phi4_Engin", "phi4_engine"),
    ],
)  # fmt: skip
def test_a_slip_of_the_finger_is_named(typed: str, meant: str) -> None:
    with pytest.raises(InventoryError, match=rf"{typed} is not a variable of phi4-edge \(did you mean {meant}\?\)"):
        Overrides.from_vars("gw1", {typed: "1"})
