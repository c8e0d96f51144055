"""What the chat page asks of the engine: little on a small machine, and what its variables say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.engines.compose import webui_document
from phi4_edge.core.plan.decide import Inputs

Make = Callable[..., Any]
IMAGE = "sha256:" + "3" * 64
# All that a release on this host is made of, so that it has a name.
KNOWN = Inputs(
    {"phi-4-mini-instruct/onnx-int4": "c" * 64},
    {"onnx": "e" * 64, "phi4-edge/onnx": "e" * 64},
    {"ghcr.io/open-webui/open-webui:v0.12.4/amd64": IMAGE},
)
CPU, GPU = ("n150-8gb", "gt1030-2gb", "gateway-6gb"), ("gtx1060-6gb", "two-gpus", "jetson-orin-nano-8gb")
ASKED = ("ENABLE_TITLE_GENERATION", "ENABLE_FOLLOW_UP_GENERATION", "ENABLE_TAGS_GENERATION")


def environment(plan: Any) -> dict[str, Any]:
    """The page's settings as its container gets them, those that are JSON read."""
    made = webui_document(plan.to_dict(), IMAGE, memory=10**9, start="")["services"]["webui"]["environment"]
    read = {name: json.loads(made[name]) for name in made if name.startswith("DEFAULT_MODEL") or "PARAMS" in name}
    return {**made, **read}


@pytest.mark.parametrize("host", CPU + GPU)
def test_the_page_asks_for_the_answer_and_on_a_gpu_for_a_title(document: Make, plan: Make, host: str) -> None:
    made = plan(document(host), webui_enabled=True)
    found = environment(made)
    assert found["DEFAULT_MODEL_METADATA"] == {"capabilities": {"builtin_tools": False, "vision": False}}
    assert [found[name] for name in ASKED] == [str(host in GPU), "False", "False"]
    assert (made.accelerator == "cuda") == (host in GPU)
    assert found["ENABLE_RETRIEVAL_QUERY_GENERATION"] == found["ENABLE_AUTOCOMPLETE_GENERATION"] == "False"
    assert found["TASK_MODEL_PARAMS"] == {"max_tokens": 300}


def test_each_variable_turns_on_what_it_names_and_makes_another_release(document: Make, plan: Make) -> None:
    plain = plan(document("n150-8gb"), KNOWN, webui_enabled=True)
    assert plain.release is not None
    for variable, setting in [("titles", ASKED[0]), ("follow_ups", ASKED[1]), ("tags", ASKED[2])]:
        made = plan(document("n150-8gb"), KNOWN, webui_enabled=True, **{f"webui_{variable}": "true"})
        assert [name for name in ASKED if environment(made)[name] == "True"] == [setting]
        assert made.release != plain.release
    tools = plan(document("n150-8gb"), webui_enabled=True, webui_builtin_tools=True)
    assert environment(tools)["DEFAULT_MODEL_METADATA"]["capabilities"]["builtin_tools"] is True
    off = plan(document("gtx1060-6gb"), webui_enabled=True, webui_titles=False)
    assert environment(off)["ENABLE_TITLE_GENERATION"] == "False"


def test_without_a_page_its_variables_are_no_other_release(document: Make, plan: Make) -> None:
    wishes = {"webui_max_tokens": 64, "webui_builtin_tools": True, "webui_titles": True, "webui_tags": True}
    plain = plan(document("n150-8gb"), KNOWN)
    assert plan(document("n150-8gb"), KNOWN, **wishes).fingerprint == plain.fingerprint is not None


@pytest.mark.parametrize(
    ("wishes", "tokens"),
    [
        ({}, 1024),
        ({"engine": "ollama"}, 1024),
        ({"context_length": 2048}, 512),
        ({"context_length": 512}, 128),
        ({"context_length": 8192, "engine": "ollama"}, 1024),
        ({"webui_max_tokens": 200}, 200),
        ({"webui_max_tokens": 100000}, 2048),
        ({"webui_max_tokens": "auto"}, 1024),
        ({"max_tokens": 300, "engine": "ollama"}, 300),
        ({"max_tokens": 300, "webui_max_tokens": 500}, 300),
    ],
)
def test_an_answer_has_an_end_and_a_question_has_room(
    document: Make, plan: Make, wishes: dict[str, Any], tokens: int
) -> None:
    made = plan(document("n150-8gb"), webui_enabled=True, force=True, **wishes)
    assert made.webui.max_tokens == tokens
    assert environment(made)["DEFAULT_MODEL_PARAMS"] == {"max_tokens": tokens}


def test_vllm_refuses_what_might_not_fit_so_it_is_asked_for_no_length(document: Make, plan: Make) -> None:
    made = plan(document("xeon-rtx3060-driver570"), webui_enabled=True, engine="vllm")
    assert (made.engine, made.webui.max_tokens, environment(made)["DEFAULT_MODEL_PARAMS"]) == ("vllm", None, {})
    told = plan(document("xeon-rtx3060-driver570"), webui_enabled=True, engine="vllm", webui_max_tokens=300)
    assert environment(told)["DEFAULT_MODEL_PARAMS"] == {"max_tokens": 300}


def test_a_context_that_the_pages_own_tools_fill_is_said(document: Make, plan: Make) -> None:
    def warned(**wishes: Any) -> list[str]:
        made = plan(document("n150-8gb"), webui_enabled=True, force=True, **wishes)
        return [text for text in made.warnings if text.startswith("webui_builtin_tools")]

    assert warned(webui_builtin_tools=True) == [
        "webui_builtin_tools: the page's tools take about 6000 tokens of every question, context 4096 has no room for "
        "them; set phi4_context_length to 8192 or more"
    ]
    assert warned() == warned(webui_builtin_tools=True, context_length=8192) == []


def test_the_one_that_is_tried_in_a_browser_is_the_catalogs(catalog: Any) -> None:
    lock = (Path(__file__).parents[4] / "requirements" / "open-webui.lock").read_text()
    assert f"open-webui=={catalog.webui.image.tag.removeprefix('v')} " in lock
