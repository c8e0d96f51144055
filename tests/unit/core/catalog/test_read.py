"""The data files: their numbers, and what is said about a mistake in them."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.catalog.model import Candidate, Catalog
from phi4_edge.core.catalog.read import read as read_catalog
from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.image_reference import OURS
from phi4_edge.core.plan.overrides import MODELS, QUANTIZATIONS, Overrides
from phi4_edge.core.plan.sizing import attempts
from phi4_edge.data import FOLDER, load_catalog, load_cve_floors, load_table, schema
from phi4_edge.errors import CatalogError


def data(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return loaded


def put(target: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(target)
    *parents, last = path.split(".")
    inner: Any = changed
    for name in parents:
        inner = inner[int(name)] if name.isdigit() else inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("engine", "quantization", "accelerator", "weights", "need"),
    [
        ("onnx", "int4", "cpu", 2.40, 4.42),
        ("onnx", "int4_untied", "cpu", 4.86, 6.4),
        ("ollama", "q4_0", "cpu", 2.33, 3.3),
        ("ollama", "q4_K_M", "cpu", 2.49, 3.5),
        ("ollama", "q8_0", "cpu", 4.08, 5.1),
        ("ollama", "q5_1", "cpu", 2.93, 3.9),
        ("vllm", "bf16", "cuda", 7.67, 8.9),
        ("vllm", "int4", "cuda", 2.9, 4.6),
        ("vllm", "bf16", "cpu", 7.67, 10.25),
    ],
)
def test_memory_of_each_variant_at_4096_tokens(
    catalog: Catalog, engine: str, quantization: str, accelerator: str, weights: float, need: float
) -> None:
    sizing = attempts(catalog, Candidate(engine, quantization, accelerator), Overrides())[0]
    assert sizing.context == 4096
    assert sizing.weights / 1e9 == pytest.approx(weights, abs=0.005)
    assert sizing.need / 1e9 == pytest.approx(need, abs=0.005 if quantization == "int4" and need == 4.42 else 0.05)


@pytest.mark.parametrize(("kv_type", "size"), [("fp32", 262144), ("f16", 131072), ("q8_0", 69632), ("q4_0", 36864)])
def test_kv_cache_per_token(catalog: Catalog, kv_type: str, size: int) -> None:
    assert {catalog.kv_bytes(model, kv_type) for model in MODELS} == {size}


def test_kv_grows_with_context_and_parallel(catalog: Catalog) -> None:
    candidate = Candidate("ollama", "q4_0", "cpu")
    sizing = attempts(catalog, candidate, Overrides(context_length=8192, parallel=3))
    assert [(item.kv_type, item.kv_cache) for item in sizing] == [
        ("f16", 131072 * 8192 * 3),
        ("q8_0", 69632 * 8192 * 3),
    ]


def test_names_in_the_overrides_are_those_of_the_catalog(catalog: Catalog) -> None:
    assert set(QUANTIZATIONS) == {name for engine in catalog.engines.values() for name in engine.variants}
    assert set(MODELS) == set(catalog.models)
    assert catalog.models["tiny"].size == 2300000


def test_the_engines_of_the_catalog_are_those_of_the_table(catalog: Catalog) -> None:
    assert list(catalog.engines) == list(ENGINES)
    steps = schema("plan")["properties"]["steps"]["items"]["enum"]
    assert [step for step in steps if step in ENGINES] == list(ENGINES)


def test_no_engine_is_older_than_the_known_vulnerabilities_allow(catalog: Catalog) -> None:
    floors = load_cve_floors()["floors"]
    for name in ("ollama", "vllm"):
        assert tuple(map(int, catalog.engines[name].version.split("."))) >= tuple(
            map(int, floors[name]["minimum"].split("."))
        )


def test_a_checkpoint_of_a_known_revision_is_delivered(catalog: Catalog) -> None:
    model = catalog.models["phi-4-mini-instruct"]
    source = model.checkpoints["safetensors-int4"]
    assert model.unpinned("safetensors-int4") == (source["revision"] is None) and not model.unpinned("safetensors")
    path = "models.phi-4-mini-instruct.checkpoints.safetensors-int4.revision"
    known = read_catalog({**data("catalog.yml"), "models": put(data("catalog.yml"), path, "a" * 40)["models"]})
    assert not known.models["phi-4-mini-instruct"].unpinned("safetensors-int4")
    assert not any("py" in pattern for pattern in source["allow"])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("revision", "main", "40 hexadecimal digits"),
        ("path", "../x", "a folder of the repository"),
        ("path", "a//b", "a folder of the repository"),
        ("files", {"../x": {"size": 1, "sha256": "a" * 64}}, "the plain name of a file"),
        ("files", {"x": {"size": 1, "sha256": "A" * 64}}, "64 hexadecimal digits"),
        ("files", {"x": {"size": -1, "sha256": "a" * 64}}, "a whole number"),
        ("files", {"x": {"size": 1, "sha256": "a" * 64, "mode": 1}}, "unknown field mode"),
        ("kind", "x", "unknown field kind"),
    ],
)
def test_a_publication_that_is_not_pinned_is_refused(path: str, value: object, message: str) -> None:
    catalog = data("catalog.yml")
    catalog["models"]["phi-4-mini-instruct"]["published"][path] = value
    with pytest.raises(CatalogError, match=message):
        read_catalog(catalog)


def test_nothing_is_named_latest_and_every_image_says_its_registry(catalog: Catalog) -> None:
    images = [
        image for engine in catalog.engines.values() for build in engine.builds.values() for image in build.images
    ]
    images += [catalog.webui.image, *(image.base for image in images if image.base is not None)]
    for image in images:
        assert any(character.isdigit() for character in image.tag) and "latest" not in image.tag
        assert image.repository.startswith((OURS, "docker.io/", "ghcr.io/"))
        assert (image.base is not None) == image.repository.startswith(OURS)
        assert 0 < image.archive < image.disk


@pytest.mark.parametrize(("value", "named"), [("new", "a version such as 1.2.3"), (1.2, "found 1.2, needed a text")])
def test_a_mistake_in_the_floors_is_named(value: Any, named: str) -> None:
    floors = put(data("cve_floors.yml"), "floors.docker.minimum", value)
    with pytest.raises(CatalogError, match=f"CVE floors.floors.docker.minimum: .*{named}"):
        read_catalog(data("catalog.yml"), floors)


def test_images_are_pinned_to_the_version_of_their_engine(catalog: Catalog) -> None:
    for engine in catalog.engines.values():
        for build in engine.builds.values():
            assert all(engine.version in image.tag for image in build.images)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("format", "x", r"resource table.format: found 'x', needed phi4-edge/resource-table/1"),
        ("tolerance", "most", r"resource table.tolerance: found 'most', needed a number from 0 to 1"),
        ("tolerance", 1.5, r"found 1.5"),
        ("os_reserve_gib", True, r"os_reserve_gib: found True"),
        ("auto_order", ["production_gpu", "edge_optimised"], r"auto_order: .*did you mean edge_optimized"),
        ("auto_order", "production_gpu", r"auto_order: found 'production_gpu', needed a list of texts"),
        ("profiles.edge_optimised", {}, r"unknown profile.*did you mean edge_optimized"),
        ("profiles.production_cpu.ram", 8, r"profiles.production_cpu.ram: found 8, needed a mapping"),
        ("profiles.production_cpu.ram.minimum", None, r"production_cpu.ram.minimum: found nothing, needed a number"),
        ("profiles.production_cpu.ram.recommended", 4, r"ram.recommended: found 4, needed at least the minimum of 8"),
        ("profiles.production_cpu.disk", -1, r"production_cpu.disk: found -1"),
        ("profiles.production_cpu.disk", [1], r"production_cpu.disk: found list"),
        ("profiles.production_cpu.dsk", 1, r"production_cpu: found unknown field dsk \(did you mean disk\?\)"),
        ("profiles.production_cpu.meant_for", "", r"meant_for: found '', needed a text"),
        ("profiles", None, r"resource table.profiles: found nothing, needed a mapping"),
        ("tolerence", 1, r"unknown field tolerence \(did you mean tolerance"),
    ],
)
def test_a_mistake_in_the_resource_table_is_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(CatalogError, match=named):
        ResourceTable.from_data(put(data("resource_table.yml"), path, value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("models.tiny.stand_in_for", "nothing", r"models.tiny.stand_in_for: found 'nothing'"),
        ("models.tiny.stand_in_for", "tiny", r"models.tiny.stand_in_for"),
        ("models.tiny.source.size", "big", r"models.tiny.source.size: found 'big', needed a whole number"),
        ("models.phi-4-mini-instruct.architecture.layers", True, r"architecture.layers: found True"),
        ("models.tiny.context_length", None, r"models.tiny.context_length: found nothing, needed a whole number"),
        ("engines.onnx.variants.int4.context", 0, r"variants.int4.context: .*above which the artifact in `long`"),
        ("kv_types.f16", 1.5, r"kv_types.f16"),
        ("engines.onnx.version", 1, r"engines.onnx.version: found 1, needed a text"),
        ("models.phi-4-mini-instruct.checkpoints.safetensors-int4.revision", "main", r"revision: .*40 hexadecimal"),
        ("models.phi-4-mini-instruct.checkpoints.safetensors-int4.rev", 1, r"unknown field rev"),
        ("engines.onnx.start.cpu.seconds", "10", r"start.cpu.seconds: found '10', needed a whole number"),
        ("engines.onnx.builds.cpu.images.0.digests", {"x86": None}, r"digests: .*amd64, arm64"),
        ("engines.onnx.builds.cpu.images.0.digests", {"amd64": "sha256:1"}, r"digests: .*64 hexadecimal digits"),
        ("engines.ollama.release.artifacts.x86_64-cpu.assets", ["x.tgz"], r"x86_64-cpu.assets: .*names from"),
        ("engines.ollama.release.artifacts.x86_64-cpu.assets", [], r"x86_64-cpu.assets"),
        ("engines.ollama.release.artifacts.x86_64-cpu.digest", "abc", r"x86_64-cpu.digest: .*64 hexadecimal"),
        ("engines.ollama.release.sha256", {"a": "1"}, r"release.sha256.a: found '1', needed 64 hexadecimal"),
        ("variants.Bad", {}, r"catalog.variants: names of small letters"),
        ("variants.mine", {"from": "other"}, r"catalog.variants: mine.from"),
        ("webui.image.tag", "", r"webui.image.tag: found '', needed a text"),
        ("engines.vllm.on_request", ["systemd"], r"engines.vllm.on_request: .*compose alone"),
        (
            "engines.fourth",
            {**data("catalog.yml")["engines"]["vllm"]},
            r"engines.fourth.name: .*one of onnx, ollama, vllm",
        ),
        ("engines.onnx.applicable", ["upstart"], r"engines.onnx.applicable: .*systemd and compose"),
        ("engines.onnx.builds.cpu.kv_types", ["q9"], r"builds.cpu.kv_types: .*needed a list of fp32"),
        ("engines.onnx.builds.cpu.kv_types", [], r"builds.cpu.kv_types"),
        ("engines.onnx.builds.rocm", {}, r"engines.onnx.builds.rocm.accelerator.*cpu, cuda"),
        ("engines.ollama.builds.cuda.jetson", ["R35"], r"cuda.jetson.*major releases"),
        ("engines.ollama.builds.cuda.drivers", "550", r"cuda.drivers: found '550', needed a list"),
        ("engines.ollama.builds.cuda.drivers", [3], r"cuda.drivers\[0\]: found 3, needed a mapping"),
        ("engines.onnx.variants.int4.measured", "yes", r"int4.measured: found 'yes', needed true or false"),
        ("engines.onnx.variants.int4.overhead.tpu", 1, r"int4.overhead: found unknown field tpu"),
        ("candidates.production_cpu.0.engine", "onyx", r"production_cpu\[0\].engine: found 'onyx', needed one of onnx"),
        ("candidates.production_cpu.0.quantization", "q4_0", r"a variant that onnx has for cpu"),
        ("candidates.production_gpu.0.quantization", "q4_0", r"a variant that vllm has for cuda"),
        ("candidates.edge", [], r"candidates: found unknown field edge"),
        ("speed.cpu.0.efficiency", 2, r"speed.cpu\[0\].efficiency: found 2, needed a number from 0 to 1"),
        ("speed.cpu.0.features", [1], r"cpu\[0\].features: found list, needed a list of texts"),
        ("speed.uncertainty.guess", 0.1, r"uncertainty: found unknown field guess"),
        ("speed.one_core", 3, r"one_core: found 3, needed a number from 0 to 1"),
        ("engins", {}, r"unknown field engins \(did you mean engines"),
    ],
)
def test_a_mistake_in_the_catalog_is_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(CatalogError, match=named):
        read_catalog(put(data("catalog.yml"), path, value))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tolerance: 1\ntolerance: 2\n", "tolerance twice"),
        ("a: [", "table.yml: "),
        ("[1]", "resource table: found list, needed a mapping"),
        ("", "resource table: found nothing, needed a mapping"),
    ],
)
def test_a_table_that_is_not_yaml_of_the_right_shape(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "table.yml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=named):
        load_table(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no\.yml"):
        load_catalog(tmp_path / "no.yml")
    with pytest.raises(CatalogError, match="one of facts"):
        schema("nothing")


def test_an_edited_table_decides(document: Callable[..., Any], catalog: Catalog, plan: Callable[..., Any]) -> None:
    from phi4_edge.core.facts import parse
    from phi4_edge.core.plan.decide import Inputs, decide

    edited = put(data("resource_table.yml"), "profiles.production_cpu.ram", {"minimum": 16, "recommended": 16})
    table = ResourceTable.from_data(edited)
    found = parse.parse(document("n150-8gb"))
    assert decide(found, table, catalog, Overrides(), Inputs()).profile == "edge_optimized"


def test_an_engine_without_an_image_for_the_host(document: Callable[..., Any]) -> None:
    from phi4_edge.core.facts import parse
    from phi4_edge.core.plan.decide import Inputs, decide

    catalog = read_catalog(put(data("catalog.yml"), "engines.vllm.builds.cpu.images", []))
    found = parse.parse(document("two-gpus"))
    made = decide(found, load_table(), catalog, Overrides(profile="development", engine="vllm"), Inputs())
    assert "no image of vllm 0.33.0 for x86_64" in made.missing[0]


def test_importing_core_reads_no_yaml_and_no_ansible() -> None:
    code = (
        "import sys, phi4_edge.core.plan.decide, phi4_edge.core.facts.parse, phi4_edge.core.rollout.outcome;"
        "import phi4_edge.core.facts.receipt;"
        "print([m for m in ('yaml', 'ansible', 'docker', 'paramiko', 'click', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
