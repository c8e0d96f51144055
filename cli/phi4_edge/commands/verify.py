"""`phi4-edge verify`: the same prompts to every host, and one table of what came back. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options, _via
from phi4_edge.operations.options import Reach
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report import verify as report_verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phi4_edge.inference.prompts import Prompt
    from phi4_edge.inference.verdict import Verdict
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.rollout.result import HostResult


@click.command("verify")
@_options.inventory_argument
@click.option(
    "--prompts",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Your own prompts (YAML).",
)
@click.option("--only", metavar="WORD,...", help="Only these categories (math, code, tools, logic) or prompts.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Length limit of any answer, in tokens.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Time limit for one answer, in seconds.",
)
@click.option("--require-tools", is_flag=True, help="Fail if a tool call is not well formed.")
@click.option("--answers", is_flag=True, help="Also show the text of the answers.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "markdown", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Format of stdout.",
)
@_via.via_options
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    file: Path | None,
    only: str | None,
    max_tokens: int | None,
    timeout: float,
    require_tools: bool,
    answers: bool,
    output: str,
    via: _via.Via,
    reach: Reach,
) -> None:
    """Ask the engine of each host the same questions (math, code, a tool call, logic); show speed and form.

    A wrong answer is an answer; a tool call counts as well formed if it names a tool that was offered, with
    arguments that match the tool's schema.

    \b
    Examples:
      phi4-edge verify inventory/gateways.ini
      phi4-edge verify inventory/gateways.ini --only math,tools --output json
      phi4-edge verify inventory/gateways.ini --prompts mine.yml --require-tools
      phi4-edge verify inventory/gateways.ini --only math --via gateway

    \b
    Exit codes: 0 all answered, 1 usage, 3 a host is not provisioned,
    4 a host left a prompt unanswered, 5 a host is unreachable.
    """
    from phi4_edge.inference import verdict as inference_verdict
    from phi4_edge.operations.fleet import Fleet

    prompts = _prompts(file, only, max_tokens)
    found, problems = _ask(Fleet.open(inventory, reach), prompts, timeout, reach.forks, via)
    document = inference_verdict.document(found, problems, prompts, require_tools)
    _show(document, output, answers)
    for result in problems:
        click.echo("\n".join(summary.trouble(result.to_dict(), _options.width())), err=True)
    raise click.exceptions.Exit(int(document["exit_code"]))


def _show(document: Mapping[str, Any], output: str, answers: bool) -> None:
    """The document is on stdout."""
    if output in ("json", "yaml"):
        click.echo(report_output.dump(document, output))
    else:
        shown = report_verify.markdown(document, answers) if output == "markdown" else None
        _options.show(shown or report_verify.overview(document, _options.width(), answers))


def _prompts(file: Path | None, only: str | None, max_tokens: int | None) -> tuple[Prompt, ...]:
    """What is to be asked. Raises CatalogError for a file that is not as it must be, or a word that is in none."""
    from phi4_edge.data import load_prompts
    from phi4_edge.inference import prompts as inference_prompts

    path, data = load_prompts(file)
    words = [word.strip() for word in only.split(",") if word.strip()] if only else []
    return inference_prompts.choose(inference_prompts.parse(data, path.name), words, max_tokens)


def _ask(
    fleet: Fleet, prompts: Sequence[Prompt], seconds: float, at_a_time: int, via: _via.Via
) -> tuple[list[Verdict], list[HostResult]]:
    """The verdicts on hosts that serve, and the hosts that do not, or could not be looked at."""
    from phi4_edge.inference import exchange
    from phi4_edge.operations import serving, verify
    from phi4_edge.report.text import count
    from phi4_edge.ssh.kept import Sessions

    through = via.connector(fleet)
    with Sessions() as sessions, fleet.view() as view:
        found, problems = serving.serving(fleet, fleet.survey(view, keep=sessions))
        questions = verify.Questions(prompts, seconds)
        view.phase(f"Asking {count(len(found), 'host')} {count(len(questions.asked), 'question')} each")

        def tell(verdict: Verdict) -> None:
            answered = sum(answer.answered for answer in verdict.answers)
            view.note(f"{verdict.host}: {answered} of {len(verdict.answers)} answered")

        connect = through or exchange.connector(fleet.access, sessions)
        return verify.ask_all(found, questions, at_a_time, tell, view.note, connect), problems
