"""What releases are made of: the files are there, and another byte in one of them is another release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phi4_edge import content


def test_every_file_that_a_release_is_made_of_is_there() -> None:
    named = {path for paths in content.RELEASES.values() for path in paths} | {*content.OLLAMA_STORE}
    assert [path for path in sorted(named) if not (content.root() / path).exists()] == []
    assert set(content.RELEASES) == {"onnx", "ollama", "vllm"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("roles/onnx/templates/environment.j2", {"onnx"}),
        ("roles/onnx/files/engine/src/phi4_engine/__init__.py", {"onnx", "phi4-edge/onnx"}),
        ("roles/ollama/templates/chat.gotmpl", {"ollama", "ollama store"}),
        ("roles/service/vars/main.yml", {"onnx", "ollama", "vllm"}),
        ("roles/service/tasks/main.yml", set()),
    ],
)
def test_a_changed_file_is_another_release_of_what_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, changed: set[str]
) -> None:
    before = content.runtimes()
    shutil.copytree(content.root() / "roles", tmp_path / "roles", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(content, "root", lambda: tmp_path)
    assert content.runtimes() == before
    with (tmp_path / file).open("a") as stream:
        stream.write("# more")
    after = content.runtimes()
    assert {name for name in after if after[name] != before[name]} == changed


def test_the_code_that_writes_compose_documents_is_part_of_every_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, root = content.runtimes(), content.root()
    monkeypatch.setattr(content, "root", lambda: root)
    monkeypatch.setattr(content, "_PACKAGE", tmp_path)
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "compose.py").write_text("x = 1")
    after = content.runtimes()
    assert {name for name in after if after[name] != before[name]} == {"onnx", "ollama", "vllm"}


def test_what_tests_and_linters_leave_in_a_checkout_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roles" / "a").mkdir(parents=True)
    (tmp_path / "roles" / "a" / ".keep").write_text("")
    monkeypatch.setattr(content, "root", lambda: tmp_path)
    before = content.digest("roles")
    for name in ("__pycache__/a.pyc", ".pytest_cache/v/nodeids", ".mypy_cache/3.11/cache.0.db", ".ruff_cache/0/1"):
        path = tmp_path / "roles" / "a" / name
        path.parent.mkdir(parents=True)
        path.write_text("left")
    assert content.digest("roles") == before
    (tmp_path / "roles" / "a" / "b").write_text("part of it")
    assert content.digest("roles") != before
