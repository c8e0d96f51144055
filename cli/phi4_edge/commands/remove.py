"""`phi4-edge remove`: takes away what was installed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.commands._options import confirm, single_wave_options
from phi4_edge.core.rollout.words import VERBS
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    pass


@click.command("remove")
@_options.inventory_argument
@_options.yes_option
@_options.events_option
@single_wave_options
@_options.reach_options
def command(inventory: tuple[str, ...], yes: bool, output: str, waving: Waving, reach: Reach) -> None:
    """Remove the service, its releases, models and receipt from the hosts, and nothing else.

    \b
    Examples:
      phi4-edge remove inventory/gateways.ini --limit gw1
      phi4-edge remove inventory/gateways.ini --yes

    \b
    Exit codes: 0 done, 1 usage or not confirmed, 3 a host cannot be probed,
    4 a host failed, 5 a host is unreachable, 6 another run has locked a host, 130 Ctrl-C.
    """
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.remove import remove
    from phi4_edge.rollout.result import document
    from phi4_edge.view.view import STEPS

    fleet = Fleet.open(inventory, reach)
    names = ", ".join(host.name for host in fleet.hosts[:5]) + (", ..." if len(fleet.hosts) > 5 else "")
    confirm(f"Remove phi4-edge's service, releases and models from {count(len(fleet.hosts), 'host')} ({names})?", yes)
    with fleet.view(output, {**STEPS, "service": "removing"}) as view:
        results, interrupted = remove(fleet, waving, view)
    result = document(results, interrupted)
    if output == "json":
        click.echo(report_output.to_line(result))
    else:
        _options.show(summary.summary(result, VERBS["remove"], _options.width()))
    raise click.exceptions.Exit(result["exit_code"])
