"""Asks the tiny model what it was taught, in the form in which an engine reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.scripts import lessons
from phi4_edge.artifacts.convert.worker import run_worker

FORMS = ("tied", "gguf", "torch")
_SCRIPTS = Path(__file__).with_name("scripts")
# Not that of the training: other values in the questions.
_SEED = 1_000_003
DRAWN = 120


@dataclass(frozen=True)
class Graded:
    """How many questions were asked, and what was answered wrong: prompt and answer."""

    asked: int
    wrong: tuple[tuple[str, str], ...]

    @property
    def right(self) -> int:
        """Number of questions that were answered word for word."""
        return self.asked - len(self.wrong)


def questions(drawn: int = DRAWN) -> list[dict[str, Any]]:
    """Every phrasing of every question, and so many drawn ones with other tools, systems and spelling."""
    taught, rng = lessons.read(_SCRIPTS), random.Random(_SEED)  # noqa: S311 - nothing secret
    asked = [*taught.fixed(rng), *(taught.drawn(rng) for _ in range(drawn))]
    return [{"prompt": lessons.prompt(each, rng), "answers": each.answers, "endless": each.endless} for each in asked]


def examine(prover: Converter, form: str, model: Path, work: Path, asked: Sequence[dict[str, Any]]) -> Graded:
    """Ask the model in its `form` in the environment `prover`; `work` is for files meanwhile.

    Raises ArtifactError when that does not run.
    """
    listed, wrong = work / f"questions-{form}.json", work / f"wrong-{form}.json"
    listed.write_text(json.dumps(asked), encoding="utf-8")
    arguments: dict[str, object] = {"form": form, "model": str(model), "questions": str(listed), "wrong": str(wrong)}
    failed = f"the {form} form of {model.name} could not be examined"
    run_worker(prover, "examine", arguments, work, failed, lambda line: None)
    found = json.loads(wrong.read_text(encoding="utf-8"))
    return Graded(len(asked), tuple((str(prompt), str(answer)) for prompt, answer in found))
