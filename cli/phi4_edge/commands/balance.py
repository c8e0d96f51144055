"""`phi4-edge balance`: one address for the gateways of an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.core.rollout.words import VERBS
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.options import Reach


@click.command("balance")
@_options.inventory_argument
@click.option("--check", is_flag=True, help="Only say what would change.")
@click.option("--remove", is_flag=True, help="Take the balancer away; gateways stay as they are.")
@click.option("--drain", metavar="GATEWAY", default="", help="Give this gateway no more requests, and wait.")
@click.option("--ready", metavar="GATEWAY", default="", help="Give this gateway requests again.")
@click.option(
    "--drain-seconds", default=120, show_default=True, type=click.IntRange(0, 3600), help="Wait so long for answers."
)
@_options.yes_option
@_options.events_option
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    check: bool,
    remove: bool,
    drain: str,
    ready: str,
    drain_seconds: int,
    yes: bool,
    output: str,
    reach: Reach,
) -> None:
    """Make each host of the group `balancers` serve one address for all gateways of the inventory.

    It looks at the gateways, and tells each balancer their addresses, speeds and names. Run it again after a gateway
    was added, removed or measured.

    \b
    Examples:
      phi4-edge balance inventory/gateways.ini
      phi4-edge balance inventory/gateways.ini --drain gw1
      phi4-edge provision inventory/gateways.ini --limit gw1
      phi4-edge balance inventory/gateways.ini --ready gw1

    \b
    Exit codes: 0 done, 1 usage, not confirmed or no balancer, 3 a host cannot be probed,
    4 a host failed, 5 a host is unreachable, 6 another run has locked a host, 130 Ctrl-C.
    """
    from phi4_edge.operations.fleet import Fleet

    if sum(map(bool, (check, remove, drain, ready))) > 1:
        raise click.UsageError("found more than one of --check, --remove, --drain and --ready, needed one of them")
    fleet = Fleet.open(inventory, reach, balance=True)
    what = "Remove the balancer from" if remove else "Change the balancers on"
    if not check:
        _options.confirm(f"{what} {count(len(fleet.balancers), 'host')}?", yes)
    _run(fleet, output, _wish(drain, ready, drain_seconds) if drain or ready or remove else None, check=check)


def _run(fleet: Fleet, output: str, wish: dict[str, Any] | None, *, check: bool) -> NoReturn:
    """The balancers serve, or are as `wish` says; ends with the worst result's exit code."""
    from phi4_edge.operations import balance
    from phi4_edge.rollout.result import document
    from phi4_edge.view.view import STEPS

    with fleet.view(output, {**STEPS, "balancer": "balancing"}) as view:
        results, interrupted = balance.play(fleet, view, wish) if wish else balance.serve(fleet, view, check=check)
    result = document(results, interrupted)
    verb = "check" if check else "remove" if wish and wish["balancer_do"] == "remove" else "balance"
    if output == "json":
        click.echo(report_output.to_line(result))
    else:
        _options.show(summary.summary(result, VERBS[verb], _options.width()))
    raise click.exceptions.Exit(result["exit_code"])


def _wish(drain: str, ready: str, seconds: int) -> dict[str, Any]:
    """Variables of the role for what is done with balancers that serve already."""
    if drain or ready:
        do = "drain" if drain else "ready"
        return {"balancer_do": do, "balancer_gateway": drain or ready, "balancer_drain_seconds": seconds}
    return {"balancer_do": "remove"}
