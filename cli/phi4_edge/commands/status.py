"""`phi4-edge status`: what each host serves, and what drifted. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options
from phi4_edge.operations.options import Reach
from phi4_edge.report import output as report_output
from phi4_edge.report import status, summary

if TYPE_CHECKING:
    from phi4_edge.core.facts.status import HostStatus
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.rollout.result import HostResult
    from phi4_edge.ssh.guest import Guest


@click.command("status")
@_options.inventory_argument
@click.option(
    "--deep", is_flag=True, help="Read every managed byte on the hosts instead of trusting what files look like."
)
@_options.output_option
@_options.reach_options
def command(inventory: tuple[str, ...], deep: bool, output: str, reach: Reach) -> None:
    """Show what each host serves, whether it answers, and what of it is not as committed.

    Files of models, engines and stores, and all above 256 KiB, are read again only where size, time of the last change
    or inode differ. --deep hashes them too, and so finds bytes that changed while all three stayed: a disk that loses
    bits, or somebody who set the time back. It costs a read of everything that is installed, 2.4 GB for Phi-4-mini: a
    minute at the 40 MB/s of an SD card, two seconds on an NVMe. What it finds is repaired by provision --deep.

    \b
    Examples:
      phi4-edge status inventory/gateways.ini
      phi4-edge status inventory/gateways.ini --deep --limit gw1
      phi4-edge status inventory/gateways.ini -o json | jq '.hosts[] | select(.state != "serving")'

    \b
    Exit codes: 0 all are serving, 1 usage, 2 drift or not serving,
    3 a host cannot be probed, 5 a host is unreachable.
    """
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.status import status_code, status_document

    hosts, problems = _look(replace(Fleet.open(inventory, reach), deep=deep))
    document = status_document(hosts, problems)
    if output == "table":
        entries = document["hosts"]
        lines = status.overview(entries, _options.width()) if entries else []
        _options.show([*lines, *status.troubles(entries, _options.width())])
    else:
        click.echo(report_output.dump(document, output))
    for result in problems:
        click.echo("\n".join(summary.trouble(result.to_dict(), _options.width())), err=True)
    raise click.exceptions.Exit(status_code(hosts, problems))


def _look(fleet: Fleet) -> tuple[list[HostStatus], list[HostResult]]:
    """The status of every host that could be looked at, and the hosts that could not."""
    from phi4_edge.core.facts.status import Health, classify
    from phi4_edge.inference import exchange
    from phi4_edge.operations import health
    from phi4_edge.rollout.result import HostResult

    said: dict[str, Health] = {}

    def ask(guest: Guest, document: Mapping[str, Any]) -> None:
        if (found := health.ask_at(guest, document, fleet.access)) is not None:
            said[guest.host.name] = found

    with fleet.view() as view:
        seen = fleet.survey(view, then=(ask, health.MOST_SECONDS))
        problems = list(seen.problems)
        found = {}
        for host, facts in fleet.facts(seen):
            if isinstance(facts, HostResult):
                problems.append(facts)
            else:
                found[host.name] = (host, facts)
        left = {name: pair for name, pair in found.items() if name not in said}
        said |= health.ask_all(left, exchange.connector(fleet.access))
    states = [
        classify(facts, said.get(name, Health()), fleet.deep, int(time.time())) for name, (_, facts) in found.items()
    ]
    return states, problems
