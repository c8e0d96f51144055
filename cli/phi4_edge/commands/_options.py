"""Options that several commands share, and how they print."""

from __future__ import annotations

import functools
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from phi4_edge.commands import _ansible
from phi4_edge.commands._login import LoginOptions, login_options
from phi4_edge.core.rollout.waves import Size
from phi4_edge.core.text import printable
from phi4_edge.errors import Phi4EdgeError, WaveError
from phi4_edge.operations.options import NAMES, Reach, Waving

F = TypeVar("F", bound=Callable[..., object])

inventory_argument = click.argument("inventory", nargs=-1, required=True, metavar="INVENTORY...")
limit_option = click.option("--limit", "-l", metavar="PATTERN", help="Only hosts that match this Ansible host pattern.")
output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Format of stdout.",
)
events_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Format of stdout; json: events as JSON Lines, the result last.",
)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
BUNDLE_HELP = "Use only what is in this file (see phi4-edge bundle); fetch and make nothing."
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


def secret(what: str) -> str:
    """What the operator types and nobody sees."""
    return str(click.prompt(what, hide_input=True, err=True))


def note(text: str) -> None:
    """A line on stderr, where it is not part of the result."""
    click.echo(text, err=True)


def _warn(text: str) -> None:
    note(f"warning: {printable(text, lines=False)}")


def reach_options(function: F) -> F:
    """Adds what says which hosts, how many at a time, and how they are reached, and Ansible's own: all is `reach`."""

    @functools.wraps(function)
    def gathered(
        *args: object,
        limit: str | None,
        forks: int,
        ask_become_pass: bool,
        login: LoginOptions,
        **rest: Any,
    ) -> object:
        asks = login.asks_for_sudo if ask_become_pass else None
        said = _ansible.taken(rest, secret)
        reach = Reach(limit, forks, asks, _warn, login=login.login, login_password=login.password, **said)
        return function(*args, reach=reach, **rest)

    options = (
        limit_option,
        click.option(
            "--forks",
            "-f",
            type=click.IntRange(1, 500),
            default=10,
            show_default=True,
            help="How many hosts to work on at a time.",
        ),
        click.option("--ask-become-pass", "-K", is_flag=True, help="Ask for the hosts' sudo password."),
        *_ansible.options,
    )
    wrapped: Callable[..., object] = login_options(gathered)
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def width() -> int:
    """Columns to write for: the terminal's, or 100 where there is none; COLUMNS overrides both."""
    return max(shutil.get_terminal_size((100, 24)).columns, 60)


def show(lines: Sequence[str]) -> None:
    """Lines on stdout."""
    click.echo("\n".join(lines))


def confirm(question: str, yes: bool) -> None:
    """The operator has agreed afterwards. Raises Phi4EdgeError when not, or when there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Phi4EdgeError(f'found no terminal to ask "{question}" on, needed one or --yes; nothing was changed')
    if not click.confirm(question, err=True):
        raise Phi4EdgeError("not confirmed; nothing was changed")


class SizeType(click.ParamType[Size]):
    """A number of hosts or a percentage of them; `least` hosts at least."""

    name = "N|N%"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """The size; a usage error when it is none."""
        if isinstance(value, Size):
            return value
        try:
            size = Size.parse(str(value))
        except WaveError as error:
            self.fail(str(error), param, ctx)
        if size.number < self.least:
            self.fail(f"found {size}, needed at least {self.least}", param, ctx)
        return size


class SecondsType(click.FloatRange):
    """A time that comes to its end: `inf` and `nan` are numbers to Python."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The time; a usage error when it is none."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"found {seconds}, needed a number of seconds such as 60", param, ctx)
        return seconds


def wave_options(
    canary: str | None = None, wave: str = "20%", bake: float = 60.0, failures: str = "0"
) -> Callable[[F], F]:
    """Adds the options with these defaults; the command takes them as `waving`."""
    one_each = "one host per distinct plan" if canary is None else canary
    options = (
        click.option(
            "--canary", type=SizeType(), default=canary, help=f"How many hosts go first.  [default: {one_each}]"
        ),
        click.option(
            "--wave", type=SizeType(1), default=wave, show_default=True, help="How many hosts per wave after that."
        ),
        click.option(
            "--bake",
            type=SecondsType(0),
            default=bake,
            show_default=True,
            metavar="SECONDS",
            help="How long to watch a wave before the next one.",
        ),
        click.option(
            "--max-failures",
            type=SizeType(),
            default=failures,
            show_default=True,
            help="How many hosts may be bad (failed, timed out, rolled back, unhealthy, unreachable) or locked.",
        ),
        *run_options,
    )
    return _gathering(options)


run_options = (
    click.option(
        "--step-timeout",
        type=click.IntRange(1),
        default=2700,
        show_default=True,
        metavar="SECONDS",
        help="Time limit for one step on one host.",
    ),
    click.option(
        "--lock-wait",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="SECONDS",
        help="Wait for hosts that another run has locked.",
    ),
    click.option("--skip-locked", is_flag=True, help="Do not count hosts locked by another run as failures."),
    click.option(
        "--worker",
        "workers",
        multiple=True,
        metavar="USER@HOST",
        help="Run Ansible on that machine instead of this one (repeatable).",
    ),
)


def single_wave_options(function: F) -> F:
    """Adds what a command without waves has of these options; the command takes them as `waving`."""
    wrapped: F = _gathering(run_options)(function)
    return wrapped


def _gathering(options: tuple[Callable[[Any], Any], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        @functools.wraps(function)
        def gathered(*args: object, **given: Any) -> object:
            source = click.get_current_context().get_parameter_source
            ours = {name: given.pop(name) for name in NAMES if name in given}
            said = frozenset(name for name in ours if source(name) is ParameterSource.COMMANDLINE)
            return function(*args, waving=Waving(**ours, given=said), **given)

        wrapped: Any = gathered
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorate
