"""`phi4-edge verify` as far as it goes without a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from phi4_edge.inference.verdict import Answer, Verdict
from phi4_edge.operations import verify
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.rollout.result import HostResult, Outcome

Invoke = Callable[..., Result]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "maths"], "no prompt or category maths"),
        (["--prompts", "missing.yml"], "missing.yml"),
        (["--max-tokens", "0"], "max-tokens"),
        (["--timeout", "0"], "timeout"),
        (["--output", "html"], "html"),
    ],
)
def test_a_wrong_wish_is_refused_before_any_host_is_contacted(
    words: list[str], message: str, inventory: Path, invoke: Invoke
) -> None:
    done = invoke("verify", inventory, *words)
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output


def test_own_prompts_that_are_wrong_are_named_by_file_and_field(
    tmp_path: Path, inventory: Path, invoke: Invoke
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("format: phi4-edge/prompts/1\nprompts:\n  hello:\n    category: chat\n    prompt: Hi\n")
    done = invoke("verify", inventory, "--prompts", file)
    assert done.exit_code == 1
    assert "mine.yml.prompts.hello.max_tokens: found nothing" in done.output


def looked_at(monkeypatch: pytest.MonkeyPatch, documents: dict[str, Any], *problems: HostResult) -> None:
    monkeypatch.setattr(Fleet, "survey", lambda *_, **__: Survey(documents, problems))


def test_hosts_that_serve_nothing_are_told_how_to(
    inventory: Path, invoke: Invoke, facts: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at(monkeypatch, {name: facts(name) for name in ("gw1", "gw2")})
    done = invoke("verify", inventory, "--output", "json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert [(entry["host"], entry["outcome"]) for entry in document["problems"]] == [
        ("gw1", "preflight"),
        ("gw2", "preflight"),
    ]
    assert "phi4-edge provision INVENTORY --limit gw1" in done.stderr


def test_an_unreachable_host_counts_beside_those_that_answer(
    inventory: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at(monkeypatch, {}, HostResult("gw2", Outcome.UNREACHABLE, "no route", "check that it is on"))
    answer = Answer("train", "math", True, True, completion_tokens=9, tokens_from="usage", seconds=1.0)
    verdict = Verdict("gw1", "onnx", "int4", "m", "127.0.0.1:8080", "r-1", (answer,))
    asked: list[tuple[int, float]] = []

    def ask_all(hosts: object, questions: verify.Questions, at_a_time: int, *_: object) -> list[Verdict]:
        asked.append((at_a_time, questions.seconds))
        assert [prompt.name for prompt in questions.prompts] == ["train", "car"]
        assert {prompt.max_tokens for prompt in questions.prompts} == {7}
        return [verdict]

    monkeypatch.setattr(verify, "ask_all", ask_all)
    done = invoke("verify", inventory, "--only", "math", "--max-tokens", "7", "--timeout", "9", "--forks", "3")
    assert done.exit_code == 5
    assert asked == [(3, 9.0)]
    assert "2 hosts: 1 of 1 answered" in done.stdout
    assert "gw2: unreachable: no route" in done.stderr
