"""Mistakes that tutorials about this model make, each of which somebody ran into. None of them may be true of ours.

The number in a test's name is the row of the list of traps that the project keeps; all 28 are held here. What runs on a
host is checked where it runs as well: the gates of health and GPU in the end-to-end tests, the release archives of
Ollama in the tests of artifacts.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.facts import parse
from phi4_edge.core.plan.decide import Inputs, Plan, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOSTS = ROOT / "tests" / "fixtures" / "hosts"
PRODUCT = ("roles", "cli/phi4_edge", "playbooks", "inventory")
TEXT = {".py", ".yml", ".j2", ".sh", ".ini", ".jinja", ".gotmpl", ".json", ".toml", ".txt", ".lock", ""}
IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "_content", "tests", "locks"}
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/*/compose.yml"))
CATALOG = load_catalog()
GIB = 1 << 30


def texts(*folders: str) -> Iterator[tuple[Path, str]]:
    """Every file of the product that people or programs read."""
    for folder in folders or PRODUCT:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT and not IGNORED & set(path.relative_to(ROOT).parts):
                yield path, path.read_text(encoding="utf-8")


def holding(pattern: str, *folders: str) -> list[str]:
    """Where the product's text matches; line by line, so that the message shows what."""
    return [
        f"{path.relative_to(ROOT)}: {line.strip()[:120]}"
        for path, text in texts(*folders)
        for line in text.splitlines()
        if re.search(pattern, line)
    ]


def services(engine: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every golden compose document's service, of one engine or of all."""
    named = [path for path in GOLDEN if path.parent.name.startswith(engine)]
    assert named, f"no golden document of {engine}"
    return [(str(path), yaml.safe_load(path.read_text())["services"]["engine"]) for path in named]


def fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HOSTS / f"{name}.json").read_text())
    return copy.deepcopy(document)


def planned(document: dict[str, Any] | str, **overrides: Any) -> Plan:
    found = parse.parse(fixture(document) if isinstance(document, str) else document)
    variables = {f"phi4_{name}": value for name, value in overrides.items()}
    return decide(found, load_table(), CATALOG, Overrides.from_vars("host", variables), Inputs())


def with_vram(mib: int) -> dict[str, Any]:
    """The host with an RTX 3060, as if its card had another amount of memory."""
    document = fixture("xeon-rtx3060-driver570")
    said = document["sources"]["nvidia_smi"]["text"]
    assert "12288" in said
    total_free = re.sub(r"\b12288\b", str(mib), said)
    document["sources"]["nvidia_smi"]["text"] = re.sub(r"\b1[12]\d{3}\b", str(mib), total_free)
    return document


def engine_source() -> str:
    return "".join(text for _path, text in texts("roles/onnx/files/engine/src"))


def test_01_the_model_has_3_8_billion_parameters() -> None:
    assert CATALOG.shape("phi-4-mini-instruct").parameters == 3_836_021_760
    assert not holding(r"3\.8억|380 million|380M\b")


def test_02_the_onnx_engine_generates_token_by_token_until_the_end() -> None:
    source = engine_source()
    words = set(re.findall(r"\w+", source))
    # A run over the cache for each token, until a stop token comes; the seed reads one run as the answer.
    assert {"past_key_values", "present", "run_with_iobinding", "STOP_TOKENS", "apply_chat_template"} <= words
    assert not re.search(r"\.run\(None", source)


def test_03_no_health_check_needs_curl() -> None:
    for name, service in services():
        test = service["healthcheck"]["test"]
        assert test[0] == "CMD", name
        assert not re.search(r"\b(curl|wget)\b", " ".join(test)), name


def test_04_no_token_reaches_a_host() -> None:
    assert not holding("HUGGING_FACE_HUB_TOKEN")
    for name, service in services():
        # How long an answer may get is counted in tokens of another kind.
        assert not [key for key in service["environment"] if "TOKEN" in key and key != "PHI4_MAX_TOKENS"], name


def test_05_vllm_is_never_told_a_quantization() -> None:
    for name, service in services("vllm"):
        assert not [word for word in service["command"] if word.startswith("--quantization")], name


def test_06_a_host_without_gpu_gets_the_image_for_cpus() -> None:
    images = {(item["cuda"] != "", "-cpu" in item["repository"]) for item in map(_image, ("gt1030-2gb", "two-gpus"))}
    assert images == {(False, True), (True, False)}


def _image(host: str) -> dict[str, Any]:
    plan = planned(host, engine="vllm", service_manager="compose").to_dict()
    assert plan["fits"]
    image: dict[str, Any] = plan["image"]
    return image


@pytest.mark.parametrize("gib", [4, 6])
def test_07_vllm_bf16_is_not_chosen_for_a_small_card(gib: int) -> None:
    plan = planned(with_vram(gib * 1024))
    assert (plan.engine, plan.quantization) != ("vllm", "bf16")
    forced = planned(with_vram(gib * 1024), engine="vllm", quantization="bf16")
    assert not (forced.fits and forced.accelerator == "cuda")


def test_08_the_edge_gets_no_onnx_with_an_embedding_that_is_not_shared() -> None:
    assert CATALOG.engines["onnx"].variants["int4_untied"].not_applicable
    edge = {(one.engine, one.quantization) for one in CATALOG.candidates["edge_optimized"]}
    assert ("onnx", "int4_untied") not in edge
    assert not planned("pi4-4gb", engine="onnx").fits


def test_09_vllm_on_cpus_does_not_fit_8_gb() -> None:
    plan = planned("n150-8gb", engine="vllm")
    assert not plan.fits
    assert "10.2 GB" in " ".join(plan.missing)


def test_10_ollama_is_never_asked_to_quantize() -> None:
    assert not holding(r"""["']quantize["']\s*:|ollama create .*(-q|--quantize)\b""")
    assert {variant.artifact for variant in CATALOG.engines["ollama"].variants.values()} == {
        f"gguf-{name}" for name in ("q8_0", "q5_1", "q4_K_M", "q4_0")
    }


def test_11_ollama_never_imports_safetensors_itself() -> None:
    assert not holding(r"^\s*FROM\s+\S*safetensors|\bModelfile\b", "roles", "playbooks")


def test_12_ollama_comes_as_the_archive_that_exists() -> None:
    release = CATALOG.engines["ollama"].release
    assert release is not None
    assets = {asset for artifact in release.artifacts.values() for asset in artifact.assets}
    assert assets
    assert all(asset.endswith(".tar.zst") for asset in assets)
    assert not holding(r"ollama-linux-[\w-]+\.tgz")


def test_13_automatic_tool_choice_has_its_parser_and_its_template() -> None:
    for name, service in services("vllm"):
        needed = {"--enable-auto-tool-choice", "--tool-call-parser", "--tool-parser-plugin", "--chat-template"}
        assert needed <= set(service["command"]), name
        mounted = {volume["target"] for volume in service["volumes"]}
        for flag in ("--tool-parser-plugin", "--chat-template"):
            assert service["command"][service["command"].index(flag) + 1] in mounted, name


def test_14_the_entry_point_is_ours_and_no_argument_is_serve() -> None:
    for name, service in services("vllm"):
        assert service["entrypoint"][:2] == ["python3", "-m"], name
        assert "serve" not in service["command"], name


def test_15_nothing_is_latest() -> None:
    images = [
        image for engine in CATALOG.engines.values() for build in engine.builds.values() for image in build.images
    ]
    images += [CATALOG.webui.image, *(image.base for image in images if image.base)]
    assert all(re.search(r"\d", image.tag) and "latest" not in image.tag for image in images)
    assert all(service["image"].startswith("sha256:") for _name, service in services())
    assert not holding(r"image:\s*\S+:latest|state:\s*latest", "roles", "playbooks")


def test_16_the_length_of_a_generation_is_always_set() -> None:
    source = engine_source()
    assert re.search(r"self\._limit = room if job\.max_tokens is None else min\(room, job\.max_tokens\)", source)
    assert re.search(r"capacity=chosen\.context_length", source)


def test_17_nothing_uses_the_old_api_of_genai() -> None:
    old = r"compute_logits\(|\.input_ids\s*=|int4_(accuracy_level|algo_config|block_size|op_types)"
    assert not holding(old, "roles/onnx", "cli/phi4_edge/artifacts")


def test_18_nothing_dead_of_nvidia_is_installed() -> None:
    assert not holding(r"\bapt-key\b|distribution=\$\(")
    # Named by what takes it away, and by nothing else.
    found = [line for line in holding("nvidia-docker2") if not re.search(r"remove|dpkg-query|whether", line)]
    assert not found
    assert not holding(r"https?://nvidia\.github\.io/nvidia-docker")


def test_19_a_jetson_never_gets_vllm() -> None:
    assert CATALOG.engines["vllm"].builds["cuda"].jetson == ()
    for host in ("jetson-orin-nano-8gb", "jetson-orin-jetpack5"):
        plan = planned(host, engine="vllm")
        assert not plan.fits
        assert "Jetson" in " ".join(plan.missing)


def test_20_a_gpu_is_given_in_the_way_that_a_reload_of_units_does_not_take() -> None:
    gpus = [
        (name, service["deploy"]["resources"]["reservations"]["devices"])
        for name, service in services()
        if "deploy" in service
    ]
    assert gpus
    for name, devices in gpus:
        assert [device["driver"] for device in devices] == ["cdi"], name
    assert not [name for name, service in services() if "runtime" in service]


def test_21_nothing_listens_beyond_loopback_unless_it_is_asked_for() -> None:
    assert planned("n150-8gb").bind == "127.0.0.1"
    for name, service in services():
        assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"], name


def test_22_ready_means_that_it_generated_and_where_the_model_lies() -> None:
    gate = "".join(text for _path, text in texts("roles/health/files"))
    assert '"/v1/chat/completions"' in gate
    assert '"/api/generate"' in gate
    assert '"/api/ps"' in gate


def test_23_memory_counts_context_and_parallel_answers() -> None:
    def need(**overrides: Any) -> int:
        plan = planned("xeon-rtx3060-driver570", engine="onnx", **overrides)
        assert plan.memory
        return plan.memory.need

    one = need(context_length=4096, parallel=1)
    assert need(context_length=2048, parallel=1) < one < need(context_length=4096, parallel=2)


def test_24_no_compose_document_has_a_version() -> None:
    assert all("version" not in yaml.safe_load(path.read_text()) for path in GOLDEN)


def test_25_no_script_of_llama_cpp_is_fetched_alone() -> None:
    assert not holding(r"https?://\S+convert(_hf_to_gguf|-hf-to-gguf)?\.py")


def test_26_nobody_is_sent_to_a_command_that_is_gone() -> None:
    assert not holding("huggingface-cli")
    assert not holding("huggingface-cli", "docs")
    assert "huggingface-cli" not in (ROOT / "README.md").read_text()


def test_27_a_key_of_vllm_is_not_taken_for_protection() -> None:
    assert not holding(r"--api-key|VLLM_API_KEY")


def test_28_nothing_is_piped_into_a_shell() -> None:
    piped = r"(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?(ba|da|z)?sh\b"
    assert not holding(piped)
    assert not holding(piped, "docs", "molecule", ".ci")
    assert not re.search(piped, (ROOT / "README.md").read_text())
    assert not holding(r"ollama\.com/install\.sh|get\.docker\.com")


def test_every_row_has_its_test() -> None:
    rows = {int(name[5:7]) for name in globals() if re.match(r"test_\d\d_", name)}
    assert rows == set(range(1, 29))
