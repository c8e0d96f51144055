"""What the text of a plan says about images, what is installed first, and the way a release takes over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.parse import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table
from phi4_edge.report import plans
from phi4_edge.report.text import cells

FIXTURE = Path(__file__).parents[2] / "fixtures" / "hosts" / "n150-8gb.json"
OLLAMA = {"phi4_engine": "ollama", "phi4_service_manager": "compose"}
IMAGE = "docker.io/ollama/ollama:0.35.0/amd64"
SERVING = {
    "receipt": json.dumps(
        {"present": True, "receipt": {"format": "phi4-edge/receipt/1", "engine": "onnx", "memory_need": 4703741824}}
    ),
    "service": "LoadState=loaded\nActiveState=active\nUnitFileState=enabled",
}


def said(wishes: dict[str, Any], images: dict[str, str] | None = None, width: int = 400, **sources: str) -> str:
    document = json.loads(FIXTURE.read_text(encoding="utf-8"))
    document["sources"] |= {name: {"text": text} for name, text in sources.items()}
    overrides = Overrides.from_vars("gw1", wishes)
    made = decide(parse(document), load_table(), load_catalog(), overrides, Inputs(images=images or {})).to_dict()
    lines = plans.explain(made, width)
    assert all(cells(line) <= width for line in lines)
    return "\n".join(lines)


def test_an_image_says_where_it_comes_from_and_whether_it_is_pinned() -> None:
    assert "docker.io/ollama/ollama:0.35.0 for amd64, not pinned by this controller yet, pushed to the host" in said(
        OLLAMA
    )
    pinned = said(OLLAMA | {"phi4_image_delivery": "registry"}, {IMAGE: "sha256:" + "ab" * 32})
    assert "sha256 abababababababab, pulled by the host from its registry" in pinned
    mirror = said(OLLAMA | {"phi4_image_delivery": "registry", "phi4_image_mirror": "m.example:5000/edge"})
    assert "pulled by the host through m.example:5000/edge" in mirror
    # Our own image is in no registry.
    ours = said({"phi4_service_manager": "compose", "phi4_image_delivery": "registry"})
    assert "phi4-edge/onnx:0.18.0 for amd64" in ours and "pushed to the host" in ours


def test_a_native_engine_says_its_archive_and_nothing_of_images() -> None:
    text = said({"phi4_engine": "ollama"})
    assert "ollama/0.35.0-x86_64-cpu, not in the store" in text
    assert "image" not in text and "first" not in text and "switch" not in text


def test_steps_and_what_is_installed_first() -> None:
    text = said(OLLAMA | {"webui_enabled": True})
    assert "docker, artifact, ollama, webui, service, health, receipt" in text
    assert "Docker Engine with its Compose plugin is installed first" in text
    assert "http://127.0.0.1:3000 on the host, ghcr.io/open-webui/open-webui:" in text


def test_the_interruption_is_said_with_its_reason() -> None:
    text = said(OLLAMA, **SERVING)
    assert "switch     down: old and new do not fit in RAM together" in text and "(an estimate)" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_system_prompts_are_not_spelled_out(width: int) -> None:
    text = said(OLLAMA, width=width)
    assert "phi4-mini-coder" in text and "assistant" not in text
