"""Options of commands that go over a fleet in waves."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from phi4_edge.core.wave_plan import Size
from phi4_edge.errors import WaveError

F = TypeVar("F", bound=Callable[..., object])
NAMES = ("canary", "wave", "bake", "max_failures", "step_timeout", "lock_wait", "workers")
SIZES = ("canary", "wave", "max_failures")
_FIFTH, _NONE = Size(20, percent=True), Size(0)


@dataclass(frozen=True)
class Waving:
    """How the operator wants a fleet gone over. `canary` None: one host per distinct plan. Times in seconds.

    `given`: options that are on the command line; the others are defaults.
    """

    canary: Size | None = None
    wave: Size = _FIFTH
    bake: float = 60.0
    max_failures: Size = _NONE
    step_timeout: int = 2700
    lock_wait: int = 0
    workers: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()

    @property
    def task_timeout(self) -> int:
        """Seconds that one task may take: waiting for a lock is one too."""
        return max(self.step_timeout, self.lock_wait + 60)

    def to_dict(self) -> dict[str, Any]:
        """The options as a rollout's record keeps them."""
        sizes = {"canary": self.canary, "wave": self.wave, "max_failures": self.max_failures}
        texts = {name: None if size is None else str(size) for name, size in sizes.items()}
        times = {"bake": self.bake, "step_timeout": self.step_timeout, "lock_wait": self.lock_wait}
        return {**texts, **times, "workers": list(self.workers)}

    def recorded(self, options: Mapping[str, Any]) -> Waving:
        """These options, with those of a rollout's record in the place of defaults."""
        found = {name: options[name] for name in NAMES if name in options and name not in {*self.given, "workers"}}
        sizes = {name: Size.parse(found[name]) for name in SIZES if found.get(name) is not None}
        return replace(self, **{**found, **sizes})


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
        click.option("--canary", type=SizeType(), default=canary, help=f"Hosts that go first.  [default: {one_each}]"),
        click.option("--wave", type=SizeType(1), default=wave, show_default=True, help="Hosts of a wave after that."),
        click.option(
            "--bake",
            type=SecondsType(0),
            default=bake,
            show_default=True,
            metavar="SECONDS",
            help="How long a wave is watched before the next.",
        ),
        click.option(
            "--max-failures",
            type=SizeType(),
            default=failures,
            show_default=True,
            help="Bad hosts (failed, timed out, rolled back, unhealthy, unreachable) that do not stop it.",
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
        help="The longest that one step on one host may take.",
    ),
    click.option(
        "--lock-wait",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="SECONDS",
        help="Wait for hosts that another run holds.",
    ),
    click.option(
        "--worker",
        "workers",
        multiple=True,
        metavar="USER@HOST",
        help="Run Ansible there instead of here (repeatable).",
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
