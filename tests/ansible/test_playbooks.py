"""Every playbook can be read by plain ansible-playbook, and stays small."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.ansible.plays import ROOT, play, write_inventory

PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))


def test_the_playbooks_are_the_ones_of_the_manual() -> None:
    assert [path.stem for path in PLAYBOOKS] == [
        "bake", "balance", "bench", "detect", "doctor", "driver", "exchange", "lock", "provision", "remove", "rollback",
        "status", "trust", "unlock",
    ]  # fmt: skip


def test_syntax(tmp_path: Path) -> None:
    """Of all of them in one process: it stops at the first one that it cannot read, and says so."""
    first, *others = map(str, PLAYBOOKS)
    checked = play(Path(first), write_inventory(tmp_path, {"here": {}}), *others, "--syntax-check")
    assert checked.status == 0, checked.output
    assert [line for line in checked.output.splitlines() if line] == [f"playbook: {path}" for path in PLAYBOOKS]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_they_stay_small(path: Path) -> None:
    assert path.read_text().count("\n") <= 50
    [document] = yaml.safe_load(path.read_text())
    assert document["gather_facts"] is False
