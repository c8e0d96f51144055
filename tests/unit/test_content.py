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
