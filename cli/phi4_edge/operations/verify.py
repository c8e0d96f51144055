"""Asks the engines of many hosts all prompts: hosts side by side, the prompts of one host in order."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from phi4_edge.core.facts.parse import HostFacts
from phi4_edge.errors import HostFailedError, Phi4EdgeError
from phi4_edge.inference import client
from phi4_edge.inference import verdict as inference_verdict
from phi4_edge.inference.exchange import Connect
from phi4_edge.inference.prompts import Prompt
from phi4_edge.inference.verdict import Answer, Verdict
from phi4_edge.inventory import Host
from phi4_edge.operations.serving import served_name
from phi4_edge.ssh import abreast, tunnel
from phi4_edge.ssh.tunnel import Connection
from phi4_edge.ssh.wire import Open


@dataclass(frozen=True)
class Questions:
    """What every host is asked, and how long each answer may take (seconds)."""

    prompts: Sequence[Prompt]
    seconds: float
    under_way: Open = field(default_factory=Open)

    @property
    def asked(self) -> list[tuple[Prompt, bool]]:
        """Every prompt with whether it is streamed, as often as it is asked."""
        return [(prompt, stream) for prompt in self.prompts for stream in prompt.ways]


def ask_all(
    hosts: Mapping[str, tuple[Host, HostFacts]],
    questions: Questions,
    at_a_time: int,
    tell: Callable[[Verdict], None],
    warn: Callable[[str], None],
    connect: Connect = tunnel.http_connection,
) -> list[Verdict]:
    """Every host's verdict, in the order of `hosts`; `tell` hears of each as it ends, `warn` what is odd about one.

    Ctrl-C ends all exchanges.
    """
    warnings: dict[str, str] = {}

    def told(verdict: Verdict) -> None:
        if verdict.host in warnings:
            warn(f"{verdict.host}: {warnings[verdict.host]}")
        tell(verdict)

    def one(pair: tuple[Host, HostFacts]) -> Verdict:
        host, facts = pair
        return ask_host(host, facts, questions, lambda text: warnings.update({host.name: text}), connect)

    pairs = list(hosts.values())
    return abreast.each(one, pairs, max(1, at_a_time), cut=questions.under_way.cut, tell=told)


def ask_host(
    host: Host,
    facts: HostFacts,
    questions: Questions,
    warn: Callable[[str], None],
    connect: Connect = tunnel.http_connection,
) -> Verdict:
    """The host's answers. Raises nothing for whatever its engine does."""
    receipt = facts.receipt
    address = f"{receipt.bind}:{receipt.port}"
    connection = connect(host, receipt.bind, receipt.port, warn)
    with contextlib.closing(connection), questions.under_way.using(connection):
        answers = tuple(_answers(connection, served_name(receipt.model), questions))
    return Verdict(host.name, receipt.engine, receipt.quantization, receipt.model, address, receipt.release, answers)


def _answers(connection: Connection, wanted: str, questions: Questions) -> Iterator[Answer]:
    """After a failed exchange the connection is opened anew; where that fails the rest is not asked."""
    model, dead = "", ""
    for prompt, stream in questions.asked:
        if not dead and connection.sock is None:
            try:
                model = client.model(connection, wanted, strictly=bool(wanted))
            except (OSError, http.client.HTTPException, Phi4EdgeError) as error:
                dead = str(error) or type(error).__name__
        if questions.under_way.stopped:
            dead = "interrupted"
        if dead:
            yield inference_verdict.unanswered(prompt, stream, dead)
        else:
            yield _ask(connection, prompt, model, stream, questions)


def _ask(connection: Connection, prompt: Prompt, model: str, stream: bool, questions: Questions) -> Answer:
    try:
        return client.ask(connection, prompt, model, stream, questions.seconds)
    except (OSError, HostFailedError) as error:  # the second connection of an engine that closes after every answer
        connection.close()
        return inference_verdict.unanswered(prompt, stream, str(error) or type(error).__name__)
