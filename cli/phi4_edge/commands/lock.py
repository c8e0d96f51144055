"""`phi4-edge lock`: who has the hosts to themselves, and taking a lock away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.commands._options import confirm
from phi4_edge.operations.options import Reach
from phi4_edge.report import locks as report_locks
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    from phi4_edge.operations.lock import Locks


@click.group("lock")
def command() -> None:
    """Show which runs have locked the hosts, or release a dead run's lock.

    Every run that changes hosts locks them first. If a run was killed, its lock expires by itself 30 seconds
    later; there is no need to release it.

    \b
    Examples:
      phi4-edge lock show inventory/gateways.ini
      phi4-edge lock release inventory/gateways.ini --limit gw1
    """


@command.command("show")
@_options.inventory_argument
@_options.output_option
@_options.reach_options
def show(inventory: tuple[str, ...], output: str, reach: Reach) -> None:
    """Show for each host which run has locked it, since when, and whether that run is alive. Changes nothing.

    \b
    Examples:
      phi4-edge lock show inventory/gateways.ini
      phi4-edge lock show inventory/gateways.ini -o json | jq '.hosts[] | select(.state == "held")'

    \b
    Exit codes: 0 shown, 1 usage, 3 a host cannot be probed, 5 a host is unreachable.
    """
    _tell(_ask(inventory, reach), output)


@command.command("release")
@_options.inventory_argument
@click.option("--force", is_flag=True, help="Release the lock of a live run too.")
@_options.yes_option
@_options.output_option
@_options.reach_options
def release(inventory: tuple[str, ...], force: bool, yes: bool, output: str, reach: Reach) -> None:
    """Release the locks of dead runs; with --force also those of live ones.

    A run that loses its lock ends with an error at its next step, once another run has locked the host.

    \b
    Examples:
      phi4-edge lock release inventory/gateways.ini --limit gw1
      phi4-edge lock release inventory/gateways.ini --limit gw1 --force --yes

    \b
    Exit codes: 0 released or free, 1 usage or not confirmed, 3 a host cannot be probed,
    5 a host is unreachable, 6 a host is locked by a live run.
    """
    what = "all locks, including those of live runs," if force else "the locks of dead runs"
    confirm(f"Release {what} on the hosts of {', '.join(inventory)}?", yes)
    _tell(_ask(inventory, reach, True, force), output)


def _ask(inventory: tuple[str, ...], reach: Reach, take_away: bool = False, force: bool = False) -> Locks:
    """Who holds each host, or held it until now."""
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.lock import ask
    from phi4_edge.rollout.interrupt import Interrupts
    from phi4_edge.runner.executor import Local

    fleet = Fleet.open(inventory, reach)

    def ended() -> bool:
        return interrupts.must_end(critical=False)

    with fleet.view() as view, Interrupts() as interrupts:
        view.phase(f"Asking {count(len(fleet.hosts), 'host')}")
        names = [host.name for host in fleet.hosts]
        locks = ask(Local(fleet.access), names, fleet.refused(interrupts), view.event, ended, take_away, force)
    if interrupts.stopping:
        raise KeyboardInterrupt
    return locks


def _tell(locks: Locks, output: str) -> None:
    document = locks.to_dict()
    if output == "table":
        _options.show(report_locks.lines(document, _options.width()))
    else:
        click.echo(report_output.dump(document, output))
    for problem in locks.problems:
        click.echo("\n".join(summary.trouble(problem.to_dict(), _options.width())), err=True)
    raise click.exceptions.Exit(locks.exit_code)
