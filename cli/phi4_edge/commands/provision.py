"""`phi4-edge provision`: makes each host serve the model, and proves that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.commands._confirm import confirm
from phi4_edge.commands._options import Reach
from phi4_edge.report import machine, plans, summary
from phi4_edge.report.text import count, cut, wrap

if TYPE_CHECKING:
    from phi4_edge.commands._provisioning import Provisioning
    from phi4_edge.rollout.outcome import HostResult


@click.command("provision")
@_options.inventory_argument
@click.option("--check", is_flag=True, help="Only say what would change on the hosts (Ansible check mode).")
@click.option("--diff", is_flag=True, help="Show the differences of changed files.")
@click.option("--bundle", "bundle", type=_options.existing_file, metavar="FILE", help=_options.BUNDLE_HELP)
@click.option("--allow-reboot", is_flag=True, help="Reboot hosts that get an NVIDIA driver, where that needs it.")
@_options.yes_option
@_options.events_option
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    check: bool,
    diff: bool,
    bundle: Path | None,
    allow_reboot: bool,
    yes: bool,
    output: str,
    reach: Reach,
) -> None:
    """Look at the hosts, plan, ask, bring each one to its plan, and prove that it answers.

    Hosts that are as planned are not touched. A host whose new release does not answer goes back to the one before.
    After a Ctrl-C, or anything else that ended a run, the same command goes on where it stopped.

    \b
    Examples:
      phi4-edge provision inventory/gateways.ini
      phi4-edge provision inventory/gateways.ini --limit 'eu_*' --check --diff
      phi4-edge provision inventory/gateways.ini --bundle fleet.tar
      phi4-edge provision inventory/gateways.ini --yes --output json | tail -n 1 | jq .counts

    \b
    --output json writes one JSON object per line: events as they happen, and last the result.
    Exit codes: 0 done or nothing to do, 1 usage or not confirmed, 3 preflight or no fit,
    4 a host failed, 5 a host is unreachable, 130 Ctrl-C. With several, 4 goes before 5 before 3.
    """
    from phi4_edge.commands._provisioning import Provisioning
    from phi4_edge.commands._view import view as progress_view

    run = Provisioning.open(inventory, reach, check=check, diff=diff, allow_reboot=allow_reboot)
    with progress_view(output) as view:
        if bundle:
            run.unpack(bundle, view)
        run.look(view)
    _show_plans(run.documents(), run.problems, output)
    if run.todo and not check:
        confirm(f"Change {count(len(run.todo), 'host')}?", yes)
    _finish(run, check, output)


def _finish(run: Provisioning, check: bool, output: str) -> NoReturn:
    """Apply the plans, show what became of each host, and end with the exit code."""
    from phi4_edge.commands._view import view as progress_view
    from phi4_edge.rollout.outcome import document

    with progress_view(output) as view:
        results = run.finish(view)
    result = document(results, run.interrupted)
    if output == "json":
        click.echo(machine.to_line(result))
    else:
        _options.show(["", *summary.summary(result, "would change" if check else "provisioned", _options.width())])
    raise click.exceptions.Exit(result["exit_code"])


def _show_plans(made: Sequence[Mapping[str, Any]], problems: Sequence[HostResult], output: str) -> None:
    """What was decided, before anything is asked or changed."""
    if output == "json":
        for plan in made:
            click.echo(machine.to_line({"event": "plan", "host": plan["host"], "plan": plan}))
        return
    lines = plans.overview(made, _options.width()) if made else []
    for plan in made:
        for change in plans.changes(plan) if plan["fits"] and plan["applicable"] else []:
            lines += wrap(f"{plan['host']}: {change}", _options.width(), first="  ", rest="      ")
        for warning in plan["warnings"]:
            lines += wrap(f"{plan['host']}: warning: {warning}", _options.width(), first="  ", rest="      ")
    for result in problems:  # in full in the summary
        lines.append(cut(f"{result.host}: {result.outcome}: {result.reason}", _options.width()))
    if lines:
        _options.show(lines)
