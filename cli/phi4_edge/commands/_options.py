"""Options that several commands share, and how they print."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])

inventory_argument = click.argument("inventory", nargs=-1, required=True, metavar="INVENTORY...")
limit_option = click.option("--limit", "-l", metavar="PATTERN", help="Only hosts that match (Ansible host pattern).")
output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="What stdout holds.",
)
events_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What stdout holds; json: events as JSON Lines, the result last.",
)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
BUNDLE_HELP = "Take everything from this file (see phi4-edge bundle); fetch and make nothing."
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@dataclass(frozen=True)
class Reach:
    """How the operator wants the hosts reached."""

    limit: str | None
    forks: int
    ask_become_pass: bool
    vault_password_file: Path | None


def reach_options(function: F) -> F:
    """Adds `--limit`, `--forks`, `--ask-become-pass` and `--vault-password-file`; the command takes them as `reach`."""

    @functools.wraps(function)
    def gathered(
        *args: object,
        limit: str | None,
        forks: int,
        ask_become_pass: bool,
        vault_password_file: Path | None,
        **rest: object,
    ) -> object:
        return function(*args, reach=Reach(limit, forks, ask_become_pass, vault_password_file), **rest)

    options = (
        limit_option,
        click.option(
            "--forks", "-f", type=click.IntRange(1, 500), default=10, show_default=True, help="Hosts at a time."
        ),
        click.option("--ask-become-pass", "-K", is_flag=True, help="Ask for the sudo password of the hosts."),
        click.option(
            "--vault-password-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="For an inventory with Ansible vault.",
        ),
    )
    wrapped: Callable[..., object] = gathered
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def width() -> int:
    """Columns to write for: the terminal's, or 100 where there is none; COLUMNS overrides both."""
    return max(shutil.get_terminal_size((100, 24)).columns, 60)


def show(lines: Sequence[str]) -> None:
    """Lines on stdout."""
    click.echo("\n".join(lines))
