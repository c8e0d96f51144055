"""What a release is made of: archives, images, the chat page, and what makes it another release."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.engines.modelfile import BASE
from phi4_edge.core.image_reference import parse
from phi4_edge.core.plan.decide import Inputs
from phi4_edge.core.text import gb
from phi4_edge.errors import InventoryError
from tests.unit.core.held import whole

Make = Callable[..., Any]
GPU = "xeon-rtx3060-driver570"
GGUF = "phi-4-mini-instruct/gguf-q8_0"
WHOLE = whole({}, {})
DIGEST = "sha256:" + "9" * 64


@pytest.mark.parametrize(
    ("name", "wishes", "artifact"),
    [
        ("n150-8gb", {"engine": "ollama"}, "ollama/0.35.0-x86_64-cpu"),
        ("pi4-4gb", {}, "ollama/0.35.0-aarch64-cpu"),
        ("gtx1060-6gb", {}, "ollama/0.35.0-x86_64-cuda"),
        ("jetson-orin-jetpack5", {}, "ollama/0.35.0-aarch64-jetpack5"),
        ("jetson-orin-nano-8gb", {}, "ollama/0.35.0-aarch64-jetpack6"),
    ],
)
def test_the_release_archive_fits_the_machine(
    document: Make, plan: Make, catalog: Any, name: str, wishes: Any, artifact: str
) -> None:
    made = plan(document(name), Inputs({artifact: "7" * 64}), **wishes)
    assert (made.runtime.artifact, made.runtime.python, made.image) == (artifact, "", None)
    assert made.runtime.id == f"{artifact.replace('/', '-')}-{'7' * 12}"
    assert plan(document(name), Inputs(), **wishes).runtime.id is None
    assert artifact.removeprefix("ollama/0.35.0-") in catalog.engines["ollama"].release.artifacts


def test_the_archives_of_jetson_come_on_top_of_the_plain_one(catalog: Any) -> None:
    artifacts = catalog.engines["ollama"].release.artifacts
    for release in ("5", "6"):
        plain, extra = artifacts[f"aarch64-jetpack{release}"].assets
        assert plain == artifacts["aarch64-cpu"].assets[0] and extra.endswith(f"-jetpack{release}.tar.zst")
    assert catalog.engines["ollama"].release.url.endswith(catalog.engines["ollama"].version)


def test_an_image_is_named_by_repository_tag_and_architecture(document: Make, plan: Make) -> None:
    made = plan(document(GPU)).image
    assert made.key == "docker.io/vllm/vllm-openai:v0.33.0-cu129/amd64" and made.digest is None
    assert parse(made.reference).registry == "docker.io"
    known = plan(document(GPU), Inputs(images={made.key: DIGEST})).image
    assert (known.digest, known.reference) == (DIGEST, f"docker.io/vllm/vllm-openai:v0.33.0-cu129@{DIGEST}")
    arm = plan(document("pi4-4gb"), service_manager="compose").image
    assert arm.architecture == "arm64"


def test_an_image_of_ours_is_another_one_as_soon_as_its_content_or_its_base_is(
    document: Make, plan: Make, catalog: Any
) -> None:
    def key(content: str, base: Any = None) -> str:
        inputs = Inputs(runtimes={"onnx": "1" * 64, "phi4-edge/onnx": content})
        engine = catalog.engines["onnx"]
        image = dataclasses.replace(ours, base=base or ours.base)
        build = dataclasses.replace(engine.builds["cpu"], images=(image,))
        engines = {**catalog.engines, "onnx": dataclasses.replace(engine, builds={"cpu": build})}
        using = dataclasses.replace(catalog, engines=engines)
        found: str = plan(document("n150-8gb"), inputs, using=using, service_manager="compose").image.key
        return found

    (ours,) = catalog.engines["onnx"].builds["cpu"].images
    tags = dataclasses.replace(ours.base, tag="3.13.99-slim-trixie")
    digests = dataclasses.replace(ours.base, digests={"amd64": DIGEST})
    assert re.fullmatch(r"phi4-edge/onnx:0\.18\.0-[0-9a-f]{12}/amd64", key("a" * 64))
    assert len({key("a" * 64), key("b" * 64), key("a" * 64, tags), key("a" * 64, digests)}) == 4
    assert key("a" * 64, dataclasses.replace(ours.base, disk=1)) == key("a" * 64)


def test_what_an_image_takes_or_is_called_is_no_other_release(document: Make, named: Make, catalog: Any) -> None:
    build = catalog.engines["ollama"].builds["cpu"]
    images = tuple(dataclasses.replace(image, disk=image.disk + 1, archive=1) for image in build.images)
    larger = dataclasses.replace(build, images=images)
    engine = dataclasses.replace(catalog.engines["ollama"], builds={"cpu": larger, "cuda": larger})
    other = dataclasses.replace(catalog, engines={**catalog.engines, "ollama": engine})
    wishes = {"engine": "ollama", "service_manager": "compose", "webui_enabled": True}
    first = named(document("n150-8gb"), **wishes)
    assert first.fingerprint
    assert named(document("n150-8gb"), using=other, **wishes).fingerprint == first.fingerprint


def test_our_own_files_are_part_of_a_release_and_how_it_is_delivered_is_not(document: Make, plan: Make) -> None:
    def of(content: str, **wishes: Any) -> str:
        inputs = Inputs(WHOLE.artifacts, {"load.py": content}, WHOLE.images)
        found: str = plan(document("pi4-4gb"), inputs, **wishes).fingerprint
        return found

    assert of("1" * 64) != of("2" * 64)
    assert of("1" * 64) == of("1" * 64, image_delivery="registry", image_mirror="m:5000", accept_below_floor="docker")


def test_the_chat_page_needs_docker_room_and_a_port(document: Make, plan: Make, catalog: Any) -> None:
    plain, made = plan(document("n150-8gb")), plan(document("n150-8gb"), webui_enabled="true")
    assert plain.webui is None and (made.webui.port, made.webui.bind) == (3000, "127.0.0.1")
    assert made.webui.image.key.startswith("ghcr.io/open-webui/open-webui:v0.12.4/")
    assert made.steps == ("docker", "artifact", "onnx", "webui", "service", "health", "receipt")
    assert made.memory.available == plain.memory.available - catalog.webui.memory
    assert made.disk.to_write > plain.disk.to_write and made.fingerprint != plain.fingerprint
    taken = document("n150-8gb", listening="0.0.0.0 3000")
    assert any(
        "port 3000 is in use on 0.0.0.0, needed a free port: " in text and "set webui_port=3001" in text
        for text in plan(taken, webui_enabled=True).blockers
    )
    assert plan(taken).blockers == ()
    with pytest.raises(InventoryError, match="webui_port: found 8080, which is phi4_port too"):
        plan(document("n150-8gb"), webui_enabled=True, webui_port=8080)


def test_the_chat_page_takes_memory_that_the_model_cannot_have(document: Make, plan: Make, catalog: Any) -> None:
    made = plan(document("pi4-4gb"), webui_enabled=True)
    assert not made.fits and any(f"{gb(catalog.webui.memory)} for the chat page" in text for text in made.missing)


def test_an_image_counts_compressed_and_unpacked_and_is_not_written_twice(document: Make, plan: Make) -> None:
    wishes = {"engine": "vllm", "quantization": "bf16", "force": True}
    pushed = plan(document("n150-8gb"), **wishes)
    pulled = plan(document("n150-8gb"), image_delivery="registry", **wishes)
    assert pushed.disk.need - pulled.disk.need == 1_500_000_000
    held = Inputs(images={pushed.image.key: DIGEST})
    receipt = {"format": "phi4-edge/receipt/1", "image": {"key": pushed.image.key, "digest": DIGEST, "id": "x"}}
    there = document("n150-8gb", receipt=json.dumps({"present": True, "receipt": receipt}))
    new = plan(document("n150-8gb"), held, **wishes).disk.to_write
    assert new - plan(there, held, **wishes).disk.to_write == 1_500_000_000 + 5_500_000_000


def test_ollama_in_a_container_listens_inside_and_compose_gets_its_settings(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), engine="ollama", service_manager="compose", port=9000)
    assert made.knobs["environment"]["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert (made.knobs["container_port"], made.knobs["shm_size"]) == (11434, 64 << 20)
    assert "container_port" not in plan(document("n150-8gb"), engine="ollama").knobs
    assert plan(document(GPU)).knobs["container_port"] == 8000


def test_the_store_of_ollama_is_another_one_for_another_model_or_variant(document: Make, plan: Make) -> None:
    def store(digest: str, **wishes: Any) -> str | None:
        found: str | None = plan(document("n150-8gb"), Inputs({GGUF: digest}), engine="ollama", **wishes).knobs["store"]
        return found

    first = store("1" * 64)
    assert first is not None and len(first) == 16
    assert store("1" * 64, threads=2) == first
    assert len({first, store("2" * 64), store("1" * 64, variants={"mine": {"system": "x"}})}) == 3
    assert plan(document("n150-8gb"), Inputs(), engine="ollama").knobs["store"] is None
    other_template = Inputs({GGUF: "1" * 64}, {"ollama store": "5" * 64})
    assert plan(document("n150-8gb"), other_template, engine="ollama").knobs["store"] != first


def test_the_variants_of_the_catalog_are_there_and_the_inventory_changes_them(document: Make, plan: Make) -> None:
    own = {"phi4-mini-coder": None, "mine": {"from": "phi4-mini-reasoning", "parameters": {"num_ctx": 32768}}}
    made = plan(document("n150-8gb"), engine="ollama", variants=own).knobs["variants"]
    assert list(made) == ["mine", "phi4-mini-reasoning"]
    assert made["phi4-mini-reasoning"]["parameters"] == {"temperature": 0.3, "top_p": 0.8}
    assert made["phi4-mini-reasoning"]["from"] == BASE
    # More context than memory was counted for would not fit.
    assert made["mine"]["parameters"] == {"num_ctx": 4096}
