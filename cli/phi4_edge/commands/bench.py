"""`phi4-edge bench`: how fast each host's engine is, measured where it serves; the plans use it from then on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.operations.options import Reach
from phi4_edge.report import bench as report_bench
from phi4_edge.report import output as report_output
from phi4_edge.report import summary

if TYPE_CHECKING:
    from phi4_edge.operations.bench import Wish

# Measured side by side. Each host is alone with its engine, and this machine has little to do.
AT_A_TIME = 16


@click.command("bench")
@_options.inventory_argument
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
@_options.output_option
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    streams: int | None,
    tokens: int,
    words: int,
    rounds: int,
    timeout: float,
    no_full_context: bool,
    plot: Path | None,
    output: str,
    reach: Reach,
) -> None:
    """Measure the engine of each host through its API: tokens/s, time to the first token, memory, idle time.

    The figures stay on the host, and plans show them in place of a forecast. Other requests meanwhile make a host look
    slower than it is.

    \b
    Examples:
      phi4-edge bench inventory/gateways.ini
      phi4-edge bench inventory/gateways.ini --limit gw1 --streams 4 --tokens 32
      phi4-edge bench inventory/gateways.ini --plot speed.svg -o json

    \b
    Exit codes: 0 all measured, 1 usage, 3 a host is not provisioned,
    4 a host could not be measured, 5 a host is unreachable,
    6 a host is locked by another run.
    """
    from phi4_edge.inference.load import Load
    from phi4_edge.operations.bench import Wish

    wish = Wish(Load(words, tokens, rounds, timeout), streams, full=not no_full_context)
    document = _measured(inventory, reach, wish)
    if plot is not None:
        _write(plot, report_bench.plot(document))
    _show(document, output)
    raise click.exceptions.Exit(int(document["exit_code"]))


def _measured(inventory: tuple[str, ...], reach: Reach, wish: Wish) -> Mapping[str, Any]:
    """The document, which stays on this machine where a host was measured."""
    from phi4_edge.operations import bench
    from phi4_edge.operations.fleet import Fleet

    fleet = Fleet.open(inventory, reach)
    with fleet.view() as view:
        benched, problems = bench.bench(fleet, wish, min(reach.forks, AT_A_TIME), view)
    document = bench.document(benched, problems, wish)
    if benched:
        click.echo(f"kept in {bench.keep(document)}", err=True)
    return document


def _show(document: Mapping[str, Any], output: str) -> None:
    if output == "table":
        _options.show(report_bench.overview(document, _options.width()))
    else:
        click.echo(report_output.dump(document, output))
    for result in document["problems"]:
        click.echo("\n".join(summary.trouble(result, _options.width())), err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Phi4EdgeError(f"{path}: cannot be written: {error.strerror}; give another --plot") from error
