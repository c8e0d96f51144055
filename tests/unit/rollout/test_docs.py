"""docs/rollout.md says what the code does: outcomes with their codes, options with their defaults, files, states."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from phi4_edge.commands.provision import command
from phi4_edge.core.facts.journal import STEPS
from phi4_edge.core.rollout.outcome import EXIT_CODES, PRECEDENCE, Outcome
from phi4_edge.data import schema
from phi4_edge.rollout import journal, record

TEXT = (Path(__file__).parents[3] / "docs" / "rollout.md").read_text()


def rows(heading: str, which: int = 0) -> list[list[str]]:
    """Cells of a table below a heading, without its head."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[which].splitlines()[2:]]


def test_every_outcome_is_there_with_its_exit_code() -> None:
    shown = {Outcome(name): code for names, _, code in rows("What a host can come to") for name in names.split(", ")}
    assert set(shown) == set(Outcome)
    assert shown.pop(Outcome.UNTOUCHED) == "that of what stopped the run"
    assert {outcome: int(code) for outcome, code in shown.items()} == {
        outcome: code for outcome, code in EXIT_CODES.items() if outcome is not Outcome.UNTOUCHED
    }
    assert f"the first of these that occurs: {', '.join(map(str, PRECEDENCE))}." in TEXT


@pytest.mark.parametrize("row", rows("Waves"), ids=lambda row: row[0])
def test_the_defaults_are_those_of_provision(row: list[str]) -> None:
    with click.Context(command) as context:
        option = next(each for each in command.params if row[0].strip("`") in each.opts)
        default = option.get_default(context)
    if row[0] == "`--canary`":
        assert (default, row[1]) == (None, "one host of each kind")
    elif option.is_flag:  # type: ignore[attr-defined]
        assert (default, row[1]) == (False, "no")
    elif row[1].endswith("%"):
        assert str(default) == row[1]
    else:
        assert float(str(default)) == float(row[1])


def test_the_files_and_states_are_those_of_the_record() -> None:
    files = [row[0] for row in rows("The record on the controller")]
    assert files == [journal.HEADER, journal.PLANS, journal.WAVES, journal.EVENTS, journal.RESULT]
    states = {row[0] for row in rows("The record on the controller", 1)}
    assert states == {*schema("rollout")["$defs"]["state"]["enum"], record.DAMAGED}


def test_the_steps_are_those_of_the_journal() -> None:
    assert " → ".join(STEPS) in TEXT
