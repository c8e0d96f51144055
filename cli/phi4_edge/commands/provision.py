"""`phi4-edge provision`: makes each host serve the model, and proves that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.commands._ending import end, show_waves, tell_resumed
from phi4_edge.commands._options import confirm, wave_options
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.report import output as report_output
from phi4_edge.report import plans
from phi4_edge.report.text import count, cut, wrap

if TYPE_CHECKING:
    from phi4_edge.operations.provision import Provisioning
    from phi4_edge.rollout.result import HostResult


APPLY = "apply"


class TagsType(click.ParamType[str]):
    """Tags of the playbook, separated by commas: the one that goes furthest, as each includes those before it."""

    name = "TAG,..."
    known = ("detect", "plan", APPLY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The tag; a usage error for one that provision has not."""
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        for word in words:
            if word not in self.known:
                self.fail(
                    f"found tag {word!r}, needed some of {', '.join(self.known)}: give those, or none for all",
                    param,
                    ctx,
                )
        if not words:
            self.fail(f"found no tag, needed some of {', '.join(self.known)}", param, ctx)
        return furthest(words)


def furthest(tags: Sequence[str]) -> str:
    """The tag that goes furthest; without any, all is done."""
    return max(tags, key=TagsType.known.index) if tags else APPLY


HELP = """Probe the hosts, plan, ask for confirmation, bring each host to its plan, and prove that it answers.

Hosts that are as planned are not touched. The others are changed in waves: first one host per distinct plan, then
a part of the fleet at a time, each watched before the next. A host whose new release does not answer goes back to the
previous one; if more hosts are bad than --max-failures allows, their wave goes back and no other host is touched.

After Ctrl-C, or anything else that ended a run, --resume continues where it stopped.

\b
Examples:
  phi4-edge provision inventory/gateways.ini
  phi4-edge provision inventory/gateways.ini --limit 'eu_*' --check --diff
  phi4-edge provision inventory/gateways.ini --tags plan -e phi4_context_length=2048
  phi4-edge provision inventory/gateways.ini --canary 2 --wave 10% --bake 300 --max-failures 2%
  phi4-edge provision inventory/gateways.ini --resume
  phi4-edge provision inventory/gateways.ini --plan reviewed.json
  phi4-edge provision inventory/gateways.ini --bundle fleet.tar
  phi4-edge provision inventory/gateways.ini --yes --output json | tail -n 1 | jq .counts

\b
--output json writes one JSON object per line: events as they happen, and the result last.
Exit codes: 0 done or nothing to do, 1 usage or not confirmed, 3 preflight or no fit, 4 a host failed,
5 a host is unreachable, 6 another run has locked a host, 130 Ctrl-C. If several apply: 4 before 5 before 6 before 3.
"""


@click.command("provision", help=HELP)
@_options.inventory_argument
@click.option("--check", is_flag=True, help="Only show what would change on the hosts (Ansible check mode).")
@click.option("--diff", is_flag=True, help="Show the differences in changed files.")
@click.option("--bundle", "bundle", type=_options.existing_file, metavar="FILE", help=_options.BUNDLE_HELP)
@click.option(
    "--plan",
    "plan_path",
    type=_options.existing_file,
    metavar="FILE",
    help="Apply a reviewed plan (plan -o json > FILE); refuse if anything changed since.",
)
@click.option("--resume", is_flag=True, help="Continue the last rollout of this inventory that did not end well.")
@click.option(
    "--tags",
    type=TagsType(),
    multiple=True,
    callback=lambda ctx, param, found: furthest(found),
    metavar="TAG,...",
    help="How far to go: detect (look), plan (and decide) or apply (all of it).  [default: apply]",
)
@click.option(
    "--deep", is_flag=True, help="Hash every managed file, and repair bytes that changed unseen (see status --deep)."
)
@click.option("--allow-reboot", is_flag=True, help="Reboot hosts that get an NVIDIA driver, if needed.")
@wave_options()
@_options.yes_option
@_options.events_option
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    bundle: Path | None,
    plan_path: Path | None,
    tags: str,
    waving: Waving,
    yes: bool,
    output: str,
    reach: Reach,
    **wishes: bool,
) -> None:
    from phi4_edge.operations import plan_file
    from phi4_edge.operations.provision import Provisioning, Wish

    _check(wishes, plan_path, tags)
    if tags != APPLY:
        _look_only(tags, inventory, bundle, reach, output)
    reviewed = plan_file.read(plan_path) if plan_path else None
    if reviewed:
        reach = replace(reach, limit=reach.limit or reviewed.limit)
    run = Provisioning.open(inventory, reach, waving, Wish(**wishes))
    tell_resumed(run.rolling.resumed)
    with run.fleet.view(output) as view:
        if bundle:
            run.unpack(bundle, view)
        run.look(view)
    if reviewed:
        run.review(reviewed)
    _show_plans(run.documents(), run.problems, output)
    hindered = run.hindrance()
    if run.todo and not wishes["check"] and not hindered:
        show_waves(run.waves(), run.rolling.waving, output)
        confirm(f"Change {count(len(run.todo), 'host')}?", yes)
    _finish(run, hindered, output)


def _check(wishes: Mapping[str, bool], plan_path: Path | None, tags: str) -> None:
    """Raises a usage error for options that contradict each other."""
    if wishes["check"] and wishes["resume"]:
        raise click.UsageError("found --check and --resume, needed one of them: --check changes nothing")
    if wishes["resume"] and plan_path:
        raise click.UsageError("found --resume and --plan, needed one of them: a resumed rollout has its own plans")
    if tags != APPLY and (wishes["resume"] or plan_path or wishes["deep"]):
        option = "--resume" if wishes["resume"] else "--plan" if plan_path else "--deep"
        raise click.UsageError(f"found --tags {tags} and {option}, needed one of them: {option} is for what is applied")


def _look_only(tags: str, inventory: Sequence[str], bundle: Path | None, reach: Reach, output: str) -> NoReturn:
    """As phi4-edge detect and phi4-edge plan show it: nothing is asked and nothing changed."""
    from phi4_edge.commands import detect, plan

    if tags == "detect":
        detect.show(inventory, reach, output)
    plan.show(plan.from_hosts(inventory, (), reach, bundle), output)


def _finish(run: Provisioning, hindered: Mapping[str, HostResult], output: str) -> NoReturn:
    """Apply the plans, show what became of each host, and end with the exit code."""

    if hindered:
        results = run.leave(hindered)
    else:
        with run.fleet.view(output) as view:
            results = run.finish(view)
    end(run.rolling.close(results, _options.note), output, "check" if run.rolling.check else "provision")


def _show_plans(made: Sequence[Mapping[str, Any]], problems: Sequence[HostResult], output: str) -> None:
    """What was decided, before anything is asked or changed."""
    if output == "json":
        for plan in made:
            click.echo(report_output.to_line({"event": "plan", "host": plan["host"], "plan": plan}))
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
