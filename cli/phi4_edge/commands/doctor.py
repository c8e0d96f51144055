"""`phi4-edge doctor`: what would be in the way, and how to mend it. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.artifacts.store.images import Images
from phi4_edge.commands import _options
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.operations.options import Reach
from phi4_edge.report import doctor as report_doctor
from phi4_edge.report import output as report_output

if TYPE_CHECKING:
    from phi4_edge.operations.plan import Planner


@click.command("doctor")
@_options.inventory_argument
@_options.output_option
@_options.reach_options
def command(inventory: tuple[str, ...], output: str, reach: Reach) -> None:
    """Look for everything that would get in the way of provisioning, and say how to fix it.

    Checks this machine and each host: SSH access, clock, disk, package manager, name resolution, systemd, Docker,
    cgroups, GPU, known flaws, ports, and what the plan itself says. Nothing is changed anywhere.

    \b
    Examples:
      phi4-edge doctor inventory/gateways.ini
      phi4-edge doctor inventory/gateways.ini --limit gw1 -K
      phi4-edge doctor inventory/gateways.ini -o json | jq -r '.hosts[].findings[] | select(.level == "problem") | .fix'

    \b
    Exit codes: 0 nothing in the way (at most notes and warnings), 1 usage,
    3 a problem that would stop provisioning, 5 a host is unreachable.
    """
    document = _examine(inventory, reach)
    if output == "table":
        _options.show(report_doctor.lines(document, _options.width()))
    else:
        click.echo(report_output.dump(document, output))
    raise click.exceptions.Exit(document["exit_code"])


def _examine(inventory: Sequence[str], reach: Reach) -> dict[str, Any]:
    from phi4_edge.core.doctor import controller, examine
    from phi4_edge.operations import controller as operations_controller
    from phi4_edge.operations import doctor as operations_doctor
    from phi4_edge.operations.fleet import Fleet

    planner, store_error = _planner()
    fleet = Fleet.open(inventory, reach)
    with fleet.view() as view:
        looked = operations_doctor.look(fleet, planner, view)
    readings = operations_controller.read(
        inventory, reach, fleet.hosts, looked.plans, store_error, all_reached=not looked.unreachable
    )
    findings = [*controller.examine(readings), *looked.findings]
    return examine.document([host.name for host in fleet.hosts], findings, looked.unreachable)


def _planner() -> tuple[Planner, str]:
    """Plans with what the store holds; one that cannot be read is a finding, and the plans go on without it."""
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.operations.plan import Planner

    store = Store()
    try:
        return Planner(store.digests(), Images(store).digests()), ""
    except (Phi4EdgeError, OSError) as error:
        return Planner({}), str(error)
