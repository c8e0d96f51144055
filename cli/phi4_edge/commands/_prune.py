"""What `model prune` and `rollout prune` have in common: their options, the question, and what they print."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phi4_edge.commands import _options
from phi4_edge.report import output as report_output
from phi4_edge.report import prune as report
from phi4_edge.report.text import count, size_of

if TYPE_CHECKING:
    from phi4_edge.operations.prune import Pruning

F = TypeVar("F", bound=Callable[..., object])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,6})([smhdw]?)")


class AgeType(click.ParamType[int]):
    """A time in seconds, minutes, hours, days or weeks; without a unit only 0."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds; a usage error when it is none."""
        if isinstance(value, int):
            return value
        match = _AGE.fullmatch(str(value))
        if not match or (not match[2] and int(match[1])):
            self.fail(f"found {str(value)[:40]!r}, needed a number with s, m, h, d or w, such as 30d", param, ctx)
        return int(match[1]) * _UNITS[match[2] or "s"]


def options(keep: str, older_than: str) -> Callable[[F], F]:
    """Adds --keep, --older-than (with this default), --dry-run, --yes and --output."""
    chosen = (
        click.option("--keep", type=click.IntRange(0), default=10, show_default=True, metavar="N", help=keep),
        click.option(
            "--older-than", type=AgeType(), default=older_than, show_default=True, metavar="AGE",
            help="Remove only what is at least this old: 12h, 30d, 4w.",
        ),
        click.option("--dry-run", is_flag=True, help="Only show what would be removed, and why the rest is kept."),
        _options.yes_option,
        _options.output_option,
    )  # fmt: skip

    def decorate(function: F) -> F:
        wrapped: Any = function
        for option in reversed(chosen):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorate


def carry_out(pruning: Pruning, dry_run: bool, yes: bool, output: str) -> None:
    """Show what goes and what stays, ask, and remove it. Raises Phi4EdgeError when nobody agreed."""
    going, table = pruning.going, output == "table"
    if table:
        _options.show(report.lines(pruning.to_dict(), _options.width()) or [f"nothing in {pruning.place}"])
    if going and not dry_run:
        size = size_of(sum(thing.size for thing in going))
        _options.confirm(f"Remove {count(len(going), 'thing')} ({size}) from {pruning.place}?", yes)
    if not dry_run:
        pruning.remove()
    document = pruning.to_dict()
    if not table:
        click.echo(report_output.dump(document, output))
        return
    for thing in going:
        if not dry_run and thing.outcome == "kept":
            click.echo(f"kept {thing.name}: {thing.why}")
    click.echo(report.summed(document))
