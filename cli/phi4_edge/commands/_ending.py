"""What commands that go over a fleet in waves show before they ask, and when they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.core.rollout.words import VERBS
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.operations.options import Waving
    from phi4_edge.rollout.resume import Resumed


def tell_resumed(resumed: Resumed | None) -> None:
    """Which rollout is gone on with, and how much of it is done."""
    if resumed:
        click.echo(f"continuing rollout {resumed.id}: {count(len(resumed.finished), 'host')} finished", err=True)


def show_waves(waves: Sequence[Wave], waving: Waving, output: str) -> None:
    """Who would have its turn when; the events of JSON Lines say that when it begins."""
    if output == "json" or len(waves) < 2:
        return
    watched = f"watched for {waving.bake:g} s between waves; " if waving.bake else ""
    rest = f"{watched}bad hosts allowed: {waving.max_failures}"
    _options.show(["waves:", *summary.waves_text(waves, _options.width()), f"  {rest}"])


def end(result: Mapping[str, Any], output: str, operation: str) -> NoReturn:
    """What became of each host; the program ends with the exit code of the result document."""
    if output == "json":
        click.echo(report_output.to_line(result))
    else:
        _options.show(["", *summary.summary(result, VERBS[operation], _options.width())])
    raise click.exceptions.Exit(result["exit_code"])
