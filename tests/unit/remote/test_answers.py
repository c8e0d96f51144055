"""Every operation has a closed schema, and what is no answer of ours is refused."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.remote import answers
from phi4_edge.remote.answers import OPERATIONS
from phi4_edge.remote.schema import MismatchError, flag, integer, listing, mapping, number, raw, record, text, tree

# Scripts that answer one thing, without naming it.
LOOKS = {("probe", "probe"), ("probe", "bandwidth"), ("doctor", "doctor"), ("doctor", "login")}
# Keys of a result that Ansible itself acts upon.
RESERVED = (
    "add_host", "add_group", "ansible_facts", "ansible_stats", "_ansible_no_log", "invocation", "diff", "warnings",
    "deprecations", "exception", "skipped", "failed", "results", "msg", "rc", "include", "stdout", "__proto__",
)  # fmt: skip


def defined(source: str) -> set[str]:
    """Names of the functions that a script has: its own, and those that it imports."""
    body = ast.parse(source).body
    imported = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return imported | {node.name for node in body if isinstance(node, ast.FunctionDef)}


def served() -> set[answers.Key]:
    """What the scripts of the roles serve, read from their own tables."""
    found: set[answers.Key] = set()
    for path in sorted(content.roles().glob("*/files/*.py")):
        source = path.read_text()
        if not re.search(r"^ {4}serve\(", source, re.MULTILINE):
            continue
        for node in ast.walk(ast.parse(source)):
            # The table of operations names functions; nothing else in a script does.
            if isinstance(node, ast.Dict) and node.keys and isinstance(node.values[0], ast.Name):
                functions = defined(source)
                names = [key.value for key in node.keys if isinstance(key, ast.Constant) and key.value in functions]
                if names and names == [value.id for value in node.values if isinstance(value, ast.Name)]:
                    found |= {(path.parts[-3], path.stem, str(name)) for name in names}
    return found


def test_every_operation_of_a_host_script_has_a_schema_and_no_other_has() -> None:
    known = {key for key in OPERATIONS if key[:2] not in LOOKS}
    assert served() == known
    assert {key[:2] for key in OPERATIONS} >= LOOKS


@pytest.mark.parametrize("key", sorted(OPERATIONS), ids="-".join)
@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_key_is_no_answer_of_any_operation(key: answers.Key, name: str) -> None:
    for answer in ({name: {"host_name": "x"}}, {"error": "no", name: {"host_name": "x"}}):
        with pytest.raises(MismatchError):
            answers.read(key, answer)


@pytest.mark.parametrize("key", sorted(OPERATIONS), ids="-".join)
def test_the_error_of_every_operation_is_a_bounded_text(key: answers.Key) -> None:
    assert answers.read(key, {"error": "found \x1b[31mred\n"}) == {"error": "found red\n"}
    late = {"error": "late", "timedout": {"period": 3}}
    assert answers.read(key, late) == late
    for wrong in ({"error": {}}, {"error": "x" * 20_000}, {"error": "x", "timedout": {"period": -1}}, {"error": None}):
        with pytest.raises(MismatchError):
            answers.read(key, wrong)


PLAN: dict[str, Any] = {
    "engine": "onnx", "service_manager": "systemd", "release": "r-111111111111", "fingerprint": "f" * 64,
    "model": {"id": "tiny", "served_name": "phi", "artifact": "tiny/onnx-int4", "digest": "a" * 64, "size": 1},
    "knobs": {"threads": 2, "gpu": None}, "bind": "127.0.0.1", "port": 8080,
}  # fmt: skip
IMAGE = {"repository": "docker.io/a/b", "tag": "1", "architecture": "amd64", "key": "docker.io/a/b:1@amd64",
         "digest": "sha256:" + "a" * 64}  # fmt: skip


def test_the_plan_of_a_release_of_an_earlier_version_loses_only_what_nobody_uses() -> None:
    found = answers.read(("service", "release", "committed"), {"plan": {**PLAN, "image": IMAGE, "older": [1]}})
    assert found == {"plan": {**PLAN, "image": IMAGE}}


@pytest.mark.parametrize(
    "change",
    [
        {"model": {**PLAN["model"], "digest": "../../etc"}},
        {"image": {**IMAGE, "digest": "sha256:../../../root/.ssh"}},
        {"image": {**IMAGE, "repository": "-v /:/host evil"}},
        {"release": "r-1/../../x"},
        {"engine": "sh"},
        {"port": "8080"},
        {"port": True},
        {"bind": "$(reboot)"},
        {"unit": "ssh.service"},
        {"steps": ["../../evil"]},
        {"stability_seconds": float("inf")},
        {"knobs": "{{ lookup('pipe', 'id') }}"},
        {"action": "change"},
    ],
    ids=str,
)
def test_a_plan_that_a_host_made_up_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MismatchError):
        answers.read(("service", "release", "previous"), {"plan": {**PLAN, **change}, "images": {}})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({}, "key 'state' is missing"),
        ({"state": 1, "waited": 0, "holder": {}}, "state: a number"),
        ({"state": "taken", "waited": 0.0, "waited_for": None}, "key 'taken_from' is missing"),
        ({"state": "taken", "waited": float("nan"), "waited_for": None, "taken_from": None}, "waited: a number out"),
        ({"state": "taken", "waited": True, "waited_for": None, "taken_from": None}, "waited: a truth value"),
        ({"state": "held", "waited": 0, "holder": {"pid": "1"}}, "holder.pid: a text"),
        ({"state": "held", "waited": 0, "holder": {"user": "x" * 201}}, "holder.user: a text of 201 characters"),
        ({"state": "held", "waited": 0, "holder": {"state": "mine"}}, "holder.state: 'mine'"),
        ({"state": "held", "waited": 0, "holder": [], "extra": 1}, "key 'extra' is not one of ours"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(answer: dict[str, Any], found: str) -> None:
    with pytest.raises(MismatchError, match=re.escape(found)):
        answers.read(("lock", "lock", "take"), answer)


def test_what_docker_says_of_images_is_whole_or_says_that_there_is_none() -> None:
    survey = ("artifact", "image", "survey")
    assert answers.read(survey, {"docker": "", "why": "no socket", "images": {}})
    with pytest.raises(MismatchError, match="key 'images' is missing"):
        answers.read(survey, {"docker": "26.1"})
    for name in ("../../x", "-v", "sha256:" + "A" * 64):
        with pytest.raises(MismatchError):
            answers.read(("artifact", "image", "load"), {"changed": True, "id": name})


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (raw(3), "four"),
        (raw(3), 3),
        (raw(5, r"[a-z]+"), "a b"),
        (raw(5, r"[a-z]+"), "ab\n"),
        (text(3), None),
        (flag, 1),
        (flag, "true"),
        (integer(), True),
        (integer(), 1.0),
        (integer(), -1),
        (integer(), 1 << 60),
        (number(), float("inf")),
        (number(), "1"),
        (listing(flag, 1), [True, True]),
        (listing(flag, 1), {"0": True}),
        (listing(flag, 2), [True, 1]),
        (mapping(raw(3), flag, 1), {"abcd": True}),
        (mapping(raw(3), flag, 1), {"a": True, "b": True}),
        (mapping(raw(3), flag, 1), [["a", True]]),
        (record({"a": flag}), {"a": True, "b": True}),
        (record({"a": flag}), {}),
        (record({"a": flag}), []),
        (tree(3), {"a": {"b": {"c": 1}}}),
        (tree(9, 1), {"a": {"b": {}}}),
        (tree(9), {"a": float("nan")}),
        (tree(9, 6, 2), {"a": "abc"}),
    ],
)
def test_a_check_lets_nothing_through_that_it_does_not_name(check: Any, wrong: Any) -> None:
    with pytest.raises(MismatchError):
        check(wrong)


def test_a_path_leads_to_what_is_wrong() -> None:
    with pytest.raises(MismatchError, match=r"^a\.\[1\]\.b: nothing, needed a truth value$"):
        record({"a": listing(record({"b": flag}), 5)})({"a": [{"b": True}, {"b": None}]})
