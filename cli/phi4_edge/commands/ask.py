"""`phi4-edge ask`: a question to the model on each host, over its connection to the port on its loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options, _via
from phi4_edge.core.text import printable
from phi4_edge.errors import HostFailedError, Phi4EdgeError, PreflightError, UnreachableError
from phi4_edge.operations.options import Reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phi4_edge.inference.exchange import Connect
    from phi4_edge.inventory import Host
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.ssh.kept import Sessions


@click.command("ask")
@_options.inventory_argument
@click.argument("question")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Length limit of the answer, in tokens.")
@click.option("--model", metavar="NAME", help="Model to ask, if the engine serves several.")
@click.option("--temperature", type=click.FloatRange(0.0, 2.0), metavar="T", help="0 always picks the likeliest token.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    help="Time limit for one answer, in seconds.",
)
@_via.via_options
@_options.reach_options
def command(
    inventory: tuple[str, ...],
    question: str,
    max_tokens: int | None,
    model: str | None,
    temperature: float | None,
    timeout: float,
    via: _via.Via,
    reach: Reach,
) -> None:
    """Ask the model on each host a QUESTION, one host after the other; answers appear as they are generated.

    A host is asked only if its port belongs to phi4-edge.service. Where only Ansible reaches a host, its answer comes
    as a whole.

    \b
    Examples:
      phi4-edge ask inventory/gateways.ini "Why is the sky blue?" --limit gw1
      phi4-edge ask inventory/gateways.ini "Say hello" --max-tokens 20 --temperature 0
      phi4-edge ask inventory/gateways.ini "Why is 91 no prime?" --model phi4-mini-reasoning
      phi4-edge ask inventory/gateways.ini "Say hello" --via gateway --gateway-key north.key

    \b
    Exit codes: 0 all answered, 1 usage, 3 a host is not provisioned,
    4 a host failed to answer, or another program has its port,
    5 a host is unreachable.
    """
    from phi4_edge.operations.fleet import Fleet

    fleet = Fleet.open(inventory, reach)
    connect, codes = via.connector(fleet), set()
    for host in fleet.hosts:
        try:
            _answer(fleet, host, Wish(question, model, max_tokens, temperature, timeout), connect)
        except Phi4EdgeError as error:
            click.echo(f"error: {printable(host.name, lines=False)}: {printable(error)}", err=True)
            codes.add(error.exit_code)
    raise click.exceptions.Exit(next((code for code in (4, 5, 3, 1) if code in codes), 0))


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is asked; None is the engine's own choice, and of the model the inventory's. `seconds`: for the answer."""

    question: str
    model: str | None
    max_tokens: int | None
    temperature: float | None
    seconds: float


def _answer(fleet: Fleet, host: Host, wish: Wish, connect: Connect | None) -> None:
    """The host's answer is on stdout afterwards. Raises a Phi4EdgeError that says why not."""
    from phi4_edge.core.plan.overrides import Overrides
    from phi4_edge.inference import exchange
    from phi4_edge.ssh.kept import Sessions

    prefix = f"{printable(host.name, lines=False)}: " if len(fleet.hosts) > 1 else ""
    wanted = Overrides.from_vars(host.name, host.vars)
    at = (wanted.engine_bind, wanted.port)
    if connect is not None:
        _ask_at(connect, host, at, prefix, wish, wanted.model)
        return
    try:
        _ask_at(exchange.connector(fleet.access), host, at, prefix, wish, wanted.model)
    except (UnreachableError, ConnectionRefusedError) as error:
        with Sessions() as sessions:
            found = _serving_at(fleet, host, sessions)
            if found == at:
                raise HostFailedError(str(error)) from error
            _ask_at(exchange.connector(fleet.access, sessions), host, found, prefix, wish, wanted.model)


def _ask_at(connect: Connect, host: Host, at: tuple[str, int], prefix: str, wish: Wish, model: str) -> None:
    """Raises UnreachableError or ConnectionRefusedError when nothing was asked, HostFailedError for all else."""
    from phi4_edge import data
    from phi4_edge.inference import client

    def warn(text: str) -> None:
        click.echo(f"warning: {printable(host.name, lines=False)}: {printable(text)}", err=True)

    try:
        with contextlib.closing(connect(host, *at, warn)) as connection:
            known = data.load_catalog().models.get(model)
            served = wish.model or (known.served_name if known else model)
            name = client.model(connection, served, strictly=wish.model is not None)
            limits = (wish.max_tokens, wish.temperature, wish.seconds)
            _show(prefix, client.chat(connection, name, wish.question, *limits))
    except (UnreachableError, ConnectionRefusedError):
        raise
    except (OSError, http.client.HTTPException) as error:
        raise HostFailedError(
            f"the answer broke off ({error or type(error).__name__}); ask again, for fewer tokens (--max-tokens) or "
            "with more time (--timeout)"
        ) from error


def _show(prefix: str, pieces: Iterator[str]) -> None:
    """The answer is on stdout, each line behind the name of who said it. What came stays when the rest does not."""
    click.echo(prefix, nl=False)
    try:
        for piece in pieces:
            click.echo(printable(piece).replace("\n", "\n" + prefix), nl=False)
    finally:
        click.echo()


def _serving_at(fleet: Fleet, host: Host, sessions: Sessions) -> tuple[str, int]:
    """Where the host's receipt says that it serves: looked up only when it is not where the inventory says.

    Raises the error that explains why nothing answers.
    """
    from phi4_edge.core.facts import parse

    with fleet.view() as view:
        seen = dataclasses.replace(fleet, hosts=(host,)).survey(view, keep=sessions)
    for problem in seen.problems:
        kind = UnreachableError if problem.outcome == "unreachable" else PreflightError
        raise kind(f"{problem.reason}: {problem.next_step}")
    facts = parse.parse(seen.documents[host.name])
    if not facts.receipt.present:
        raise PreflightError(
            f"not provisioned: found no receipt; run phi4-edge provision INVENTORY --limit {host.name}"
        )
    if facts.service is None or not facts.service.up or not facts.receipt.port:
        raise HostFailedError("the service is down; see phi4-edge status, and journalctl -u phi4-edge there")
    return facts.receipt.bind, facts.receipt.port
