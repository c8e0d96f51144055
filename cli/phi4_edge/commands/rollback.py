"""`phi4-edge rollback`: brings each host back to the release before, and proves that it answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.commands._ending import end, show_waves, tell_resumed
from phi4_edge.commands._options import confirm, wave_options
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.report.text import count, table

if TYPE_CHECKING:
    from phi4_edge.operations.rollback import GoingBack

_RELEASE = re.compile(r"r-[0-9a-f]{12}")


@click.command("rollback")
@_options.inventory_argument
@click.option(
    "--to", default="", metavar="RELEASE", help="Another release kept on the hosts (default: the previous one)."
)
@click.option("--resume", is_flag=True, help="Continue the last rollback of this inventory that did not end well.")
@wave_options(canary="0", wave="100%", bake=0.0, failures="100%")
@_options.yes_option
@_options.events_option
@_options.reach_options
def command(
    inventory: tuple[str, ...], to: str, resume: bool, waving: Waving, yes: bool, output: str, reach: Reach
) -> None:
    """Return each host to its previous release, without fetching or planning anything.

    A host that does not answer with that release keeps the one that it serves now. Running this twice goes forward
    again: after Ctrl-C continue with --resume.

    \b
    Examples:
      phi4-edge rollback inventory/gateways.ini
      phi4-edge rollback inventory/gateways.ini --limit 'eu_*' --to r-175772f43a53

    \b
    Exit codes: 0 done or nothing to do, 1 usage or not confirmed, 3 a host has no release to go back to,
    4 a host failed, 5 a host is unreachable, 6 another run has locked a host, 130 Ctrl-C.
    """
    from phi4_edge.operations.rollback import GoingBack

    if to and not _RELEASE.fullmatch(to):
        raise click.UsageError(f"found --to {to!r}, needed a release such as r-175772f43a53: see phi4-edge status")
    run = GoingBack.open(inventory, reach, waving, to, resume)
    tell_resumed(run.rolling.resumed)
    with run.rolling.fleet.view(output) as view:
        run.look(view)
    hindered = run.hindrance()
    if run.targets and not hindered:
        _show(run, output)
        confirm(f"Bring {count(len(run.targets), 'host')} back?", yes)
    if hindered:
        results = run.all(hindered)
    else:
        with run.rolling.fleet.view(output) as view:
            results = run.finish(view)
    end(run.rolling.close(results, _options.note), output, "rollback")


def _show(run: GoingBack, output: str) -> None:
    """Who would go from where to where, and when."""
    if output == "json":
        return
    rows = [(host, run.facts[host].receipt.release, to) for host, to in run.targets.items()]
    _options.show(table(("HOST", "SERVES", "BACK TO"), rows, _options.width()))
    show_waves(run.waves(), run.rolling.waving, output)
