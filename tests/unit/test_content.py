"""What releases are made of: the files are there, and another byte in one of them is another release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phi4_edge import content
from phi4_edge.core.engines import container_unit
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.release import heal_unit, measure_unit, metrics_unit, release_files


def test_every_file_that_a_release_is_made_of_is_there() -> None:
    built = [content.root() / path for path in (*content.ONNX_ENGINE, *content.OLLAMA_STORE)]
    named = [content.program(name) for name in (*content.PROGRAMS, *content.PACKAGED)]
    assert [path for path in (*built, *named) if not path.exists()] == []


def test_every_program_of_a_release_has_a_digest() -> None:
    named = {name for engine in ENGINES.values() for name in engine.programs} | {
        release_files.PAGE_START,
        container_unit.PORT,
        *heal_unit.PROGRAMS,
        *metrics_unit.PROGRAMS,
        *measure_unit.PROGRAMS,
    }
    assert named == {*content.PROGRAMS, *content.PACKAGED}
    assert named < content.runtimes().keys()


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("roles/onnx/files/engine/src/phi4_engine/__init__.py", {"phi4-edge/onnx"}),
        ("roles/ollama/templates/chat.gotmpl", {"ollama store"}),
        ("roles/ollama/files/load.py", {"load.py"}),
        ("roles/ollama/files/journal.sed", {"journal.sed"}),
        ("roles/webui/files/start.py", {"start.py"}),
        ("roles/vllm/files/plugin/chat_template.jinja", {"chat_template.jinja"}),
        ("roles/service/vars/main.yml", set()),
        ("roles/service/tasks/main.yml", set()),
    ],
)
def test_a_changed_file_changes_what_is_made_of_it(
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


def test_what_tests_and_linters_leave_in_a_checkout_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roles" / "a").mkdir(parents=True)
    (tmp_path / "roles" / "a" / ".keep").write_text("")
    monkeypatch.setattr(content, "root", lambda: tmp_path)
    before = content.digest("roles")
    for name in (
        "__pycache__/a.pyc",
        ".pytest_cache/v/nodeids",
        ".mypy_cache/3.11/cache.0.db",
        ".ruff_cache/0/1",
        ".hypothesis/unicode_data/15.0.0/charmap.json.gz",
    ):
        path = tmp_path / "roles" / "a" / name
        path.parent.mkdir(parents=True)
        path.write_text("left")
    assert content.digest("roles") == before
    (tmp_path / "roles" / "a" / "b").write_text("part of it")
    assert content.digest("roles") != before
