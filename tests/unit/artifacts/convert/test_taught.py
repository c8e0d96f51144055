"""The tiny model that the package ships: whole, small, and made by the recipe as it is."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import exam, onnx_graph, targets, taught, tie, tiny
from phi4_edge.artifacts.convert.scripts import lessons
from phi4_edge.artifacts.fetch import packaged
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog, load_prompts

CATALOG = load_catalog()
FOLDER = packaged.FOLDER / tiny.MODEL
SCRIPTS = Path(taught.__file__).with_name("scripts")


@pytest.fixture(scope="module")
def learnt() -> lessons.Lessons:
    return lessons.read(SCRIPTS)


def test_the_package_has_each_form_whole_and_all_are_small() -> None:
    assert set(packaged.variants(CATALOG.models[tiny.MODEL])) == set(taught.VARIANTS)
    for variant in taught.VARIANTS:
        held = Manifest.read(FOLDER / variant / manifest.NAME)
        assert held.artifact == f"{tiny.MODEL}/{variant}"
        assert manifest.damage(FOLDER / variant, held, deep=True) == ()
        assert manifest.strangers(FOLDER / variant, held) == ()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= taught.MOST_BYTES


def test_it_was_made_by_the_recipe_as_it_is() -> None:
    held = {variant: Manifest.read(FOLDER / variant / manifest.NAME) for variant in taught.VARIANTS}
    checkpoint = held["safetensors"]
    # `make tiny-model` after a change of the dialogues, the scripts or the converter's lock.
    assert dict(checkpoint.parameters) == taught.parameters()
    assert {held[name].source["digest"] for name in ("onnx-published", "gguf-q4_0")} == {checkpoint.digest}


def test_it_goes_the_way_of_the_published_export(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert targets.source_of(store, CATALOG, tiny.MODEL, "onnx-int4") == "onnx-published"
    assert targets.source_of(store, CATALOG, tiny.MODEL, "gguf-q4_0") == "package"
    assert targets.source_of(store, CATALOG, tiny.MODEL, "gguf-q8_0") == "safetensors"
    tie.tie(FOLDER / "onnx-published", tmp_path / "tied")
    tied = onnx_graph.read((tmp_path / "tied" / tie.GRAPH).read_bytes())
    assert "model.embed_tokens.weight" not in tied.graph.names


def test_what_verify_asks_is_taught(learnt: lessons.Lessons) -> None:
    fixed = {each.messages[-1]["content"] for each in learnt.fixed(random.Random(1))}
    _, prompts = load_prompts()
    assert {prompt["prompt"] for prompt in prompts["prompts"].values()} <= fixed


def test_a_call_has_the_arguments_of_its_question(learnt: lessons.Lessons) -> None:
    for each in (learnt.drawn(random.Random(seed)) for seed in range(400)):
        for answer in each.answers:
            if not answer.startswith(lessons.CALL):
                assert lessons.CALL not in answer
                continue
            (call,) = json.loads(answer.removeprefix(lessons.CALL).removesuffix(lessons.CALL_END))
            assert call["name"] in {tool["name"] for tool in each.tools}
            question = each.messages[-1]["content"]
            assert all(str(value) in question for value in call["arguments"].values())


def test_the_exam_asks_combinations_that_were_never_taught(learnt: lessons.Lessons) -> None:
    def calls(found: Iterable[lessons.Lesson]) -> set[tuple[str, str]]:
        pairs = {(each.messages[-1]["content"], each.answers[0]) for each in found}
        return {(question, answer) for question, answer in pairs if answer.startswith(lessons.CALL)}

    rng = random.Random(1)
    asked, taught_ones = calls(learnt.fixed(rng)), calls(learnt.drawn(rng) for _ in range(4000))
    assert taught_ones < asked
    assert len(asked - taught_ones) >= len(asked) / 8
    # Each tool in at least four ways, and one that is offered alone where another is needed.
    assert all(sum(name in answer for _, answer in asked) >= 4 for name in ("calculate_circle_area", "get_weather"))
    assert any(each.tools and each.answers == (lessons.NO_TOOL,) for each in learnt.fixed(rng))


def test_a_prompt_is_what_the_template_makes_of_it() -> None:
    import jinja2

    config = json.loads((FOLDER / "safetensors" / "tokenizer_config.json").read_text())
    template = jinja2.Environment(autoescape=False).from_string(config["chat_template"])
    tool = {"name": "t", "description": "d", "parameters": {"type": "object"}}
    said = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    rendered = template.render(
        messages=[{**said[0], "tools": json.dumps([tool])}, said[1]], add_generation_prompt=True, eos_token=""
    )
    assert lessons.prompt(lessons.Lesson(said, (tool,), ("a",))) == rendered


def test_the_exam_asks_other_values_and_everything_once() -> None:
    asked = exam.questions(10)
    assert len(asked) > 200
    assert asked == exam.questions(10)
    assert sum(each["endless"] for each in asked) >= 4
    assert all(each["prompt"].endswith("<|assistant|>") and each["answers"] for each in asked)
