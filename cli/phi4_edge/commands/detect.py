"""`phi4-edge detect`: what hosts are. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.operations.options import Reach
from phi4_edge.report import facts as report_facts
from phi4_edge.report import output as report_output
from phi4_edge.report import summary

if TYPE_CHECKING:
    from phi4_edge.operations.detect import Survey
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.rollout.result import HostResult


@click.command("detect")
@_options.inventory_argument
@click.option("--raw", is_flag=True, help="Print what the hosts sent, for `plan --facts`.")
@click.option(
    "--raw-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write what each host sent to DIR/HOST.json.",
)
@_options.output_option
@_options.reach_options
def command(inventory: tuple[str, ...], raw: bool, raw_dir: Path | None, output: str, reach: Reach) -> None:
    """Probe hosts and show their hardware and software. Needs Python 3.8 and sudo on them; leaves nothing behind.

    \b
    Examples:
      phi4-edge detect inventory/gateways.ini
      phi4-edge detect inventory/gateways.ini --limit gw1 --raw > gw1.json
      phi4-edge detect inventory/gateways.ini --raw-dir facts/
      phi4-edge detect inventory/gateways.ini -o json | jq '.hosts[] | {host, ram_bytes}'

    \b
    Exit codes: 0 done, 1 usage, 3 a host cannot be probed, 5 a host is unreachable.
    """
    from phi4_edge.operations.fleet import Fleet

    fleet = Fleet.open(inventory, reach)
    with fleet.view() as view:
        # What is kept is planned from later.
        seen = fleet.survey(view, sample=raw or raw_dir is not None)
    if raw_dir is not None:
        _write(raw_dir, seen.documents)
    if raw:
        _print_raw(seen.documents)
        problems = list(seen.problems)
    else:
        problems = _print_parsed(fleet, seen, output, quiet=raw_dir is not None)
    _end(problems)


def show(inventory: Sequence[str], reach: Reach, output: str) -> NoReturn:
    """What this command shows without further options, and its exit code."""
    from phi4_edge.operations.fleet import Fleet

    fleet = Fleet.open(inventory, reach)
    with fleet.view() as view:
        seen = fleet.survey(view)
    _end(_print_parsed(fleet, seen, output, quiet=False))


def _end(problems: Sequence[HostResult]) -> NoReturn:
    from phi4_edge.rollout.result import exit_code

    for result in problems:
        click.echo("\n".join(summary.trouble(result.to_dict(), _options.width())), err=True)
    raise click.exceptions.Exit(exit_code(problems))


def _print_raw(documents: Mapping[str, Mapping[str, Any]]) -> None:
    """One host: its document, readable. Several: JSON Lines. `plan --facts` takes both."""
    alone = len(documents) == 1
    for document in documents.values():
        click.echo(report_output.to_json(document) if alone else report_output.to_line(document))


def _write(folder: Path, documents: Mapping[str, Mapping[str, Any]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for host, document in documents.items():
            path = folder / f"{_file_name(host)}.json"
            path.write_text(report_output.to_json(document) + "\n", encoding="utf-8")
            click.echo(f"wrote {path}", err=True)
    except OSError as error:
        raise Phi4EdgeError(f"{folder}: cannot be written: {error.strerror}; give another --raw-dir") from error


def _file_name(host: str) -> str:
    """An inventory name may hold anything, also slashes; a file name must not."""
    return re.sub(r"[^A-Za-z0-9._-]|^\.", "_", host)


def _print_parsed(fleet: Fleet, seen: Survey, output: str, quiet: bool) -> list[HostResult]:
    """Shows the facts as `output` asks; returns every host that has none."""
    from phi4_edge.rollout.result import HostResult

    hosts: list[dict[str, Any]] = []
    problems = list(seen.problems)
    for _, facts in fleet.facts(seen):
        if isinstance(facts, HostResult):
            problems.append(facts)
        else:
            hosts.append(facts.to_dict())
    if output != "table":
        found = {
            "format": "phi4-edge/detect/1",
            "hosts": hosts,
            "problems": [result.to_dict() for result in problems],
        }
        click.echo(report_output.dump(found, output))
    elif hosts and not quiet:
        _options.show(_table(hosts))
    return problems


def _table(hosts: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = report_facts.overview(hosts, _options.width())
    gaps = report_facts.gaps(hosts, _options.width())
    return [*lines, "", *gaps] if gaps else lines
