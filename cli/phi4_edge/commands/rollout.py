"""`phi4-edge rollout`: what was done to fleets from this controller, and how it ended. Contacts no host."""

from __future__ import annotations

import click

from phi4_edge.commands import _options, _prune


@click.group("rollout")
def command() -> None:
    """List past rollouts, show one, and remove old records.

    Every `provision` and `rollback` that changes hosts leaves a record on this controller: the plans as
    applied, the waves, what happened when, and the outcome of each host.

    \b
    Examples:
      phi4-edge rollout list
      phi4-edge rollout show last
      phi4-edge rollout prune --dry-run
    """


@command.command("list")
@click.option(
    "--number", "-n", type=click.IntRange(0), default=20, show_default=True, help="How many to list; 0 is all."
)
@_options.output_option
def list_rollouts(number: int, output: str) -> None:
    """List the recorded rollouts, newest first.

    \b
    Examples:
      phi4-edge rollout list
      phi4-edge rollout list -o json | jq -r '.rollouts[] | select(.state == "dead") | .id'

    \b
    Exit codes: 0 listed, also when there are none, 1 usage.
    """
    from phi4_edge.report import output as report_output
    from phi4_edge.report.rollout import text
    from phi4_edge.rollout import record
    from phi4_edge.rollout.journal import state_root

    root = state_root()
    names = record.ids(root)
    kept = names[:number] if number else names
    found = [record.summary(root, name) for name in kept]
    if output != "table":
        click.echo(report_output.dump({"format": "phi4-edge/rollouts/1", "rollouts": found}, output))
    elif found:
        _options.show(text.listed(found, len(names) - len(kept), _options.width()))
    else:
        click.echo("no rollout on record: phi4-edge provision makes them")


@command.command("show")
@click.argument("rollout", default="last", metavar="[ROLLOUT]")
@click.option("--events", is_flag=True, help="Show what happened, event by event; with -o json as JSON Lines.")
@_options.output_option
def show(rollout: str, events: bool, output: str) -> None:
    """Show one rollout: hosts wave by wave, what went wrong and why, and what to run next.

    ROLLOUT is an id, the beginning of one, or `last`, which is the default.

    \b
    Examples:
      phi4-edge rollout show
      phi4-edge rollout show 20261122T15 --events
      phi4-edge rollout show last -o json | jq '.hosts[] | select(.outcome != "done") | .host'

    \b
    Exit codes: 0 shown, 1 no such rollout, or a record that cannot be read.
    """
    from phi4_edge.report import output as report_output
    from phi4_edge.report.rollout import text
    from phi4_edge.rollout import record
    from phi4_edge.rollout.journal import state_root

    root = state_root()
    name = record.find(root, rollout)
    if not events:
        document = record.load(root, name)
        table = output == "table"
        click.echo("\n".join(text.shown(document, _options.width())) if table else report_output.dump(document, output))
        return
    found = record.events(root, name)
    if output == "yaml":
        click.echo(report_output.to_yaml(found))
    elif output == "json":
        for event in found:
            click.echo(report_output.to_line(event))
    else:
        _options.show(text.told(found, _options.width()))


@command.command("prune", short_help="Remove records of old rollouts.")
@_prune.options("Keep the newest N records of each inventory.", "0")
def prune(keep: int, older_than: int, dry_run: bool, yes: bool, output: str) -> None:
    """Remove records of rollouts that have ended, and say why the others are kept.

    A rollout that is running, that --resume goes on with, or whose record cannot be read, is kept. Hosts need none of
    these records: `status` and `rollback` read what hosts themselves remember. 'phi4-edge model prune' keeps what
    recorded plans name, so fewer records let it remove more.

    \b
    Examples:
      phi4-edge rollout prune --dry-run
      phi4-edge rollout prune --keep 20 --older-than 90d --yes

    \b
    Exit codes: 0 done or nothing to do, 1 usage, not confirmed, or a record that cannot be removed.
    """
    from phi4_edge.operations.prune import RecordsPruning
    from phi4_edge.rollout.journal import state_root

    _prune.carry_out(RecordsPruning.look(state_root(), keep, older_than), dry_run, yes, output)
