"""The Makefile leaves no test out: what `make test` does not run, `make tables` does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
# The marks of rows that `make test` leaves out.
LEFT_OUT = re.compile(r"\bmark\.full\b|\brows\(")


def recipe(target: str) -> str:
    """The commands of a target."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, target
    return found[1]


def test_make_tables_runs_every_file_of_which_make_test_runs_a_part() -> None:
    named = set(re.findall(r"tests/e2e/test_\w+\.py", recipe("tables")))
    left = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/e2e").glob("test_*.py")
            if LEFT_OUT.search(path.read_text())}  # fmt: skip
    assert left
    assert left <= named
    assert all((ROOT / name).exists() for name in named)


def test_make_test_runs_all_others() -> None:
    commands = recipe("test")
    assert "--ignore tests/e2e ||" in commands
    assert "tests/e2e ||" in commands
