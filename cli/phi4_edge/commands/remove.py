"""`phi4-edge remove`: takes away what was installed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.commands._confirm import confirm
from phi4_edge.commands._options import Reach
from phi4_edge.commands._wave_options import Waving, single_wave_options
from phi4_edge.report import machine, summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    from phi4_edge.commands._fleet import Fleet
    from phi4_edge.commands._view import View
    from phi4_edge.rollout.outcome import HostResult


@click.command("remove")
@_options.inventory_argument
@_options.yes_option
@_options.events_option
@single_wave_options
@_options.reach_options
def command(inventory: tuple[str, ...], yes: bool, output: str, waving: Waving, reach: Reach) -> None:
    """Take the service, its releases, models and receipt off the hosts, and nothing else.

    \b
    Examples:
      phi4-edge remove inventory/gateways.ini --limit gw1
      phi4-edge remove inventory/gateways.ini --yes

    \b
    Exit codes: 0 done, 1 usage or not confirmed, 3 a host cannot be looked at,
    4 a host failed, 5 a host is unreachable, 6 another run holds a host, 130 Ctrl-C.
    """
    from phi4_edge.commands._fleet import Fleet
    from phi4_edge.commands._view import STEPS
    from phi4_edge.commands._view import view as progress_view
    from phi4_edge.rollout.outcome import document

    fleet = Fleet.open(inventory, reach)
    names = ", ".join(host.name for host in fleet.hosts[:5]) + (", ..." if len(fleet.hosts) > 5 else "")
    confirm(f"Remove phi4-edge's service, releases and models from {count(len(fleet.hosts), 'host')} ({names})?", yes)
    with progress_view(output, {**STEPS, "service": "removing"}) as view:
        results, interrupted = _remove(fleet, waving, view)
    result = document(results, interrupted)
    if output == "json":
        click.echo(machine.to_line(result))
    else:
        _options.show(summary.summary(result, "removed", _options.width(), idle="had nothing of ours"))
    raise click.exceptions.Exit(result["exit_code"])


def _remove(fleet: Fleet, waving: Waving, view: View) -> tuple[Sequence[HostResult], bool]:
    """Every host's result, in inventory order; and whether Ctrl-C was pressed."""
    from phi4_edge.commands._rolling import connected, lock_variables, new_id
    from phi4_edge.rollout.apply import Job, apply
    from phi4_edge.rollout.executor import Local
    from phi4_edge.rollout.interrupt import Interrupts

    executor = connected(fleet, waving, view) if waving.workers else Local(fleet.access)
    lock = lock_variables(new_id(), "remove", waving.lock_wait)
    job = Job("remove", task_timeout=waving.task_timeout, lock=lock)
    with Interrupts(on_first=lambda: view.note("stopping; Ctrl-C again ends it at once")) as interrupts:
        seen = fleet.survey(view, interrupts)
        view.phase(f"Removing from {count(len(seen.documents), 'host')}")
        done = apply(executor, job, list(seen.documents), interrupts, view.event)
    for result in done:
        view.finished(result.host, str(result.outcome))
    found = {result.host: result for result in (*seen.problems, *done)}
    return [found[host.name] for host in fleet.hosts], interrupts.stopping
