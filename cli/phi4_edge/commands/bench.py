"""`phi4-edge bench`: how fast each host's engine is, measured where it serves; the plans use it from then on.

With --engines also how fast others are that fit: each serves for as long as it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options, _via
from phi4_edge.errors import CatalogError, Phi4EdgeError
from phi4_edge.operations.options import Reach
from phi4_edge.report import bench as report_bench
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report import tryout as report_tryout
from phi4_edge.report.text import count, wrap

if TYPE_CHECKING:
    from phi4_edge.operations.benched import Wish
    from phi4_edge.operations.candidates import Asked
    from phi4_edge.operations.tryout import Tryout

# Measured side by side. Each host is alone with its engine, and this machine has little to do.
AT_A_TIME = 16


# Of the prompts of verify, those that ask for tool calls.
TOOLS = "tools"


class EnginesType(click.ParamType[Any]):
    """Engines, or ENGINE:QUANTIZATION, separated by commas; or all."""

    name = "ENGINE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Asked, ...]:
        """What is to be tried; a usage error for a name that there is not."""
        from phi4_edge.operations import candidates

        try:
            return candidates.asked(str(value))
        except CatalogError as error:
            self.fail(str(error), param, ctx)


@click.command("bench")
@_options.inventory_argument
@click.option(
    "--engines",
    type=EnginesType(),
    metavar="ENGINE,...",
    help="Also try these engines (ENGINE or ENGINE:QUANTIZATION), or all; then bring back what serves.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Requests at a time; the host's phi4_parallel by default.",
)
@click.option(
    "--tokens",
    type=click.IntRange(8, 1024),
    default=64,
    show_default=True,
    help="Length limit of each answer, in tokens.",
)
@click.option(
    "--words", type=click.IntRange(16, 2000), default=200, show_default=True, help="Length of each prompt, in words."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Requests of each kind.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=1),
    default=900.0,
    show_default=True,
    help="Time limit for one answer, in seconds.",
)
@click.option(
    "--no-full-context", is_flag=True, help="Skip the prompt that fills the context; memory stays unmeasured."
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write a plot to FILE (SVG)."
)
@_options.yes_option
@_options.output_option
@_via.via_options
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    engines: tuple[Asked, ...] | None,
    streams: int | None,
    no_full_context: bool,
    plot: Path | None,
    yes: bool,
    output: str,
    via: _via.Via,
    reach: Reach,
    **load: Any,
) -> None:
    """Measure the engine of each host through its API: tokens/s, time to the first token, memory, idle time.

    The figures stay on the host, and plans show them in place of a forecast. Other requests meanwhile make a host look
    slower than it is.

    With --engines, each of those that fit a host is provisioned, proven and measured there, and what served before is
    brought back after each. That interrupts the service, so it asks first. A host that serves nothing yet is left out.

    \b
    Examples:
      phi4-edge bench inventory/gateways.ini
      phi4-edge bench inventory/gateways.ini --limit gw1 --streams 4 --tokens 32
      phi4-edge bench inventory/gateways.ini --plot speed.svg -o json
      phi4-edge bench inventory/gateways.ini --limit gw1 --engines onnx,ollama:q4_K_M

    \b
    Exit codes: 0 all measured, 1 usage or not confirmed, 3 a host serves nothing, or nothing fits it,
    4 a host could not be measured, or an engine failed there, 5 a host is unreachable,
    6 a host is locked by another run, 130 Ctrl-C while engines were tried.
    """
    from phi4_edge.inference.load import Load
    from phi4_edge.operations.benched import Wish

    wish = Wish(Load(**load), streams, full=not no_full_context)
    via.require_host(engines, "--engines")
    document = _tried(inventory, reach, wish, engines, yes) if engines else _measured(inventory, reach, wish, via)
    _show(document, output, plot)
    raise click.exceptions.Exit(int(document["exit_code"]))


def _measured(inventory: tuple[str, ...], reach: Reach, wish: Wish, via: _via.Via) -> Mapping[str, Any]:
    """The document, which stays on this machine where a host was measured."""
    from phi4_edge.operations import bench, benched
    from phi4_edge.operations.fleet import Fleet

    fleet = Fleet.open(inventory, reach)
    through = via.connector(fleet)
    with fleet.view() as view:
        found, problems = bench.bench(fleet, wish, min(reach.forks, AT_A_TIME), view, through)
    return _kept(benched.document(found, problems, wish), bool(found))


def _tried(
    inventory: tuple[str, ...], reach: Reach, wish: Wish, engines: tuple[Asked, ...], yes: bool
) -> Mapping[str, Any]:
    """The same of every engine that was tried; the operator has agreed that the service is interrupted."""
    from phi4_edge.data import load_prompts
    from phi4_edge.inference import prompts
    from phi4_edge.operations import benched
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.tryout import Tryout

    path, data = load_prompts(None)
    wish = replace(wish, questions=prompts.choose(prompts.parse(data, path.name), [TOOLS]))
    tryout = Tryout(Fleet.open(inventory, reach), wish, engines, min(reach.forks, AT_A_TIME))
    with tryout.fleet.view() as view:
        tryout.look(view)
    _ask(tryout, yes)
    tryout.run()
    found, back = tryout.in_order(), tryout.back.values()
    document = benched.document(found, tryout.problems, wish, tryout.entries(), back, tryout.interrupted)
    return _kept(document, bool(found))


def _ask(tryout: Tryout, yes: bool) -> None:
    """The operator knows what is interrupted, and what brings it back whatever becomes of this run, and has agreed."""
    proposed = tryout.proposal()
    if not proposed:
        return
    width = _options.width()
    _options.note("\n".join(report_tryout.proposal(proposed, width)))
    for text in (
        "Each host answers with one engine after the other meanwhile, with gaps; what serves comes back after each.",
        "Afterwards a host has the release that it serves now, and no longer the one before it.",
        "If this run is cut off, this brings back what serves now:",
    ):
        _options.note("\n".join(wrap(text, width)))
    for command in tryout.ways_back(one["host"] for one in proposed):
        _options.note(f"  {command}")
    _options.confirm(f"Interrupt {count(len(proposed), 'host')}?", yes)


def _kept(document: Mapping[str, Any], worth: bool) -> Mapping[str, Any]:
    from phi4_edge.operations import benched

    if worth:
        click.echo(f"kept in {benched.keep(document)}", err=True)
    return document


def _show(document: Mapping[str, Any], output: str, plot: Path | None) -> None:
    if plot is not None:
        _write(plot, report_bench.plot(document))
    if output == "table":
        lines = report_tryout.overview if document.get("tried") else report_bench.overview
        _options.show(lines(document, _options.width()))
    else:
        click.echo(report_output.dump(document, output))
    for result in document["problems"]:
        click.echo("\n".join(summary.trouble(result, _options.width())), err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Phi4EdgeError(f"{path}: cannot be written: {error.strerror}; give another --plot") from error
