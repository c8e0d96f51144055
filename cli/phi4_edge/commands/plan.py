"""`phi4-edge plan`: what each host can run, why, and what would change. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.artifacts.store.images import Images
from phi4_edge.commands import _options
from phi4_edge.operations.options import Reach
from phi4_edge.report import output as report_output
from phi4_edge.report import plans, summary

if TYPE_CHECKING:
    from phi4_edge.operations.plan import Planner, PlanSet


@click.command("plan")
@click.argument("inventory", nargs=-1, metavar="[INVENTORY...]")
@click.option(
    "--facts", "facts", multiple=True, metavar="FILE...", help="Plan from files written by `detect --raw`; - is stdin."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="A phi4_* variable; overrides the inventory's."
)
@click.option("--brief", is_flag=True, help="Only the table, without the reasons.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with code 2 if something would change.")
@click.option("--bundle", type=_options.existing_file, metavar="FILE", help="Plan with the contents of this bundle.")
@_options.output_option
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    facts: tuple[str, ...],
    pairs: tuple[str, ...],
    brief: bool,
    detailed_exitcode: bool,
    bundle: Path | None,
    output: str,
    reach: Reach,
) -> None:
    """Show for each host the profile, engine, quantization, context and memory, what would change, and why.

    With --facts no host is contacted: each FILE is output of `detect --raw` (one document, or JSON Lines).

    \b
    Examples:
      phi4-edge plan inventory/gateways.ini
      phi4-edge plan inventory/gateways.ini --limit gw1 --set phi4_context_length=2048
      phi4-edge plan --facts gw1.json gw2.json --output json | jq '.plans[].engine'
      phi4-edge plan inventory/gateways.ini --detailed-exitcode --brief
      phi4-edge plan inventory/gateways.ini -o json > reviewed.json

    \b
    Exit codes: 0 planned, 1 usage, 2 changes pending (with --detailed-exitcode),
    3 nothing fits a host, 5 a host is unreachable.
    """
    _check(inventory, facts, reach)
    files = [*facts, *inventory]
    planned = _from_files(files, pairs, bundle) if facts else from_hosts(inventory, pairs, reach, bundle)
    show(planned, output, brief, detailed_exitcode)


def show(planned: PlanSet, output: str, brief: bool = False, detailed_exitcode: bool = False) -> NoReturn:
    """The plans are on stdout; the program ends with the exit code that they have."""
    found = planned.to_dict()
    if output == "table":
        _options.show(_text(found, brief, _options.width()))
    else:
        click.echo(report_output.dump(found, output))
        for result in found["problems"]:
            click.echo("\n".join(summary.trouble(result, _options.width())), err=True)
    pending = any(plan["fits"] and plan["action"] != "none" for plan in found["plans"])
    raise click.exceptions.Exit(planned.exit_code or (2 if detailed_exitcode and pending else 0))


def _check(inventory: Sequence[str], facts: Sequence[str], reach: Reach) -> None:
    if not (facts or inventory):
        raise click.UsageError("needed an INVENTORY to probe, or --facts FILE")
    if facts and reach.extra_vars:
        raise click.UsageError(
            "found --extra-vars and --facts, needed --set KEY=VALUE: facts come without an inventory"
        )


def _from_files(files: Sequence[str], pairs: Sequence[str], bundle: Path | None) -> PlanSet:
    """Plans from facts files alone; contacts nothing, and imports nothing that could."""
    from phi4_edge.commands import _facts_files
    from phi4_edge.operations.plan import PlanSet

    planner = _planner(bundle)
    found = _facts_files.read(files, _facts_files.settings(pairs))
    return PlanSet.of({seen.host: _facts_files.decide(planner, seen) for seen in found})


def _planner(bundle: Path | None) -> Planner:
    """Plans with what the store holds, and with what a bundle would bring: it is checked and not unpacked."""
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.operations.plan import Planner

    store = Store()
    artifacts, images = store.digests(), Images(store).digests()
    if bundle:
        from phi4_edge import content
        from phi4_edge.artifacts.bundle.bundle import Bundle
        from phi4_edge.operations import trust

        found = Bundle.open(bundle, content, gate=trust.gate())
        artifacts |= found.digests()
        images |= found.image_digests()
    return Planner(artifacts, images)


def from_hosts(inventory: Sequence[str], pairs: Sequence[str], reach: Reach, bundle: Path | None) -> PlanSet:
    """Plans of the hosts of an inventory, which are looked at."""
    from phi4_edge.commands import _facts_files
    from phi4_edge.operations.fleet import Fleet

    planner = _planner(bundle)
    fleet = Fleet.open(inventory, reach, _facts_files.settings(pairs))
    with fleet.view() as view:
        planned = fleet.plan(planner, fleet.survey(view, sample=True))
    return replace(planned, source=fleet.source(reach.limit))


def _text(found: Mapping[str, Any], brief: bool, width: int) -> list[str]:
    """The table, then a paragraph per host, then the hosts that have no plan."""
    made: Sequence[Mapping[str, Any]] = found["plans"]
    lines = plans.overview(made, width) if made else []
    if not brief:
        for plan in made:
            lines += ["", *plans.explain(plan, width)]
    for result in found["problems"]:
        lines += ["", *summary.trouble(result, width)]
    return [*lines, "", plans.totals(made, len(found["problems"]))]
