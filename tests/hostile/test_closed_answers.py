"""Closed answers: every operation has its rows, every false answer meets its schema, and no plugin spreads one."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.remote import answers as remote_answers
from phi4_edge.remote import framing
from tests.hostile.answers import ANSWERS, REFUSED, RESERVED, Row
from tests.hostile.doors import Door, doors
from tests.hostile.honest import answers
from tests.hostile.judge import CONTROL, EVALUATED, HOSTS_WORDS, PYTHON, expected
from tests.hostile.wire import BOMB, HONEST_WIRE, WIRE, bomb, frame

NONCE = "0123456789abcdef"
OPERATIONS = sorted(remote_answers.OPERATIONS)
PLUGINS = sorted((content.root() / "plugins" / "action").glob("*.py"))
# They ask no host.
ALONE = {"phi4_arguments", "phi4_plan", "phi4_report", "phi4_status"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Door]:
    return {door.name: door for door in doors(tmp_path_factory.mktemp("known"))}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / BOMB).write_bytes(bomb())
    return folder


def test_every_operation_has_its_rows(tmp_path: Path) -> None:
    every = doors(tmp_path)
    assert {door.operation for door in every} == set(remote_answers.OPERATIONS)
    assert {door.plugin for door in every} == {path.stem for path in PLUGINS} - ALONE


def read(operation: remote_answers.Key, stdout: str) -> dict[str, Any]:
    """What the controller takes from a host's output."""
    return dict(remote_answers.read(operation, framing.parse(stdout, NONCE)))


@pytest.mark.parametrize("operation", OPERATIONS, ids="/".join)
def test_an_honest_answer_is_taken_as_it_is(operation: remote_answers.Key) -> None:
    good = answers()["/".join(operation)]
    assert read(operation, frame(NONCE, json.dumps(good).encode()).decode()) == json.loads(json.dumps(good))


@pytest.mark.parametrize("operation", OPERATIONS, ids="/".join)
def test_every_false_answer_meets_the_schema(operation: remote_answers.Key, known: dict[str, Door], home: Path) -> None:
    name = "/".join(operation)
    good = json.loads(json.dumps(answers()[name]))
    for behaviour in (*ANSWERS, *WIRE):
        row = Row(behaviour, name, "/canary", str(home))
        made: Any = ANSWERS[behaviour].make(good, row) if behaviour in ANSWERS else None
        body = made if isinstance(made, bytes) else json.dumps(made).encode()
        whole = frame(NONCE, body) if behaviour in ANSWERS else WIRE[behaviour](NONCE, json.dumps(good).encode(), row)
        try:
            taken = read(operation, whole.decode("utf-8", "replace"))
        except (Phi4EdgeError, remote_answers.MismatchError) as error:
            assert behaviour not in HONEST_WIRE, f"{behaviour}: {error}"
            assert not CONTROL.search(str(error)), f"{behaviour}: {str(error)!r}"
            assert not PYTHON.search(str(error)), f"{behaviour}: {error}"
            assert len(str(error)) < 1000, behaviour
            continue
        if expected(known[name], behaviour) == REFUSED and made != good:
            assert "error" in taken, f"{behaviour} was taken: {str(taken)[:300]}"
            assert isinstance(taken["error"], str)
            assert taken["error"].strip(), behaviour
            assert behaviour in HOSTS_WORDS or not CONTROL.search(taken["error"]), behaviour
        assert EVALUATED not in str(taken)
        assert not set(taken) & (set(RESERVED) - set(good) - {"error", "timedout"}), behaviour


@pytest.mark.parametrize("operation", OPERATIONS, ids="/".join)
def test_no_reserved_key_is_part_of_an_answer(operation: remote_answers.Key) -> None:
    good = answers()["/".join(operation)]
    for key, make in RESERVED.items():
        value = make(Row(key, "/".join(operation), "/canary"))
        for whole in ({**good, key: value}, {"error": "no", key: value}):
            with pytest.raises(remote_answers.MismatchError):
                remote_answers.read(operation, json.loads(json.dumps(whole)))
                pytest.fail(f"{key} was taken")


def spreads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of each spread into a mapping that becomes a result of Ansible, or that comes from a host."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        result = keys & {"changed", "failed", "msg", "ansible_facts", "skipped"}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None and (result or mentions(value, {"answer", "done", "found", "result", "there"})):
                yield value.lineno, ast.unparse(value)


def mentions(value: ast.expr, names: set[str]) -> bool:
    """Whether an expression is one of these names itself."""
    return isinstance(value, ast.Name) and value.id in names


# Made key by key in remote/action.py, or by us; what a host says is in them below one key alone.
OUR_OWN = {"action.result(answer)", "action.failure(error)", "action.result(done)", "why", "facts"}
# The same under names that elsewhere are those of answers; the document of the doctor is itself below one key.
HERE = {("phi4_health", "result"), ("phi4_image", "done"), ("phi4_doctor", "answer")}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_no_plugin_spreads_an_answer_into_a_result(path: Path) -> None:
    every = spreads(ast.parse(path.read_text()))
    found = [words for words in every if words[1] not in OUR_OWN and (path.stem, words[1]) not in HERE]
    assert not found, f"{path.name}: {found}: name the keys, or take the answer as it is under one key"


def test_a_spread_would_be_found() -> None:
    for text in ("{**result, **answer}", "{'changed': True, **task.answer}", "{**done, 'a': 1}", "{'msg': '', **f()}"):
        assert list(spreads(ast.parse(text))), text


def test_plugins_do_not_merge_an_answer_in_other_words() -> None:
    for path in PLUGINS:
        for node in ast.walk(ast.parse(path.read_text())):
            merged = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update"
            assert not merged, f"{path.name}:{getattr(node, 'lineno', 0)}: a mapping is updated: name the keys"
