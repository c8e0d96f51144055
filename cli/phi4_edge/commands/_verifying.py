"""Asks the engines of many hosts all prompts: hosts side by side, the prompts of one host in order."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from phi4_edge.commands import _exchange
from phi4_edge.core.facts import HostFacts
from phi4_edge.data import load_catalog
from phi4_edge.errors import HostFailedError, Phi4EdgeError
from phi4_edge.inventory import Host
from phi4_edge.preflight import tunnel
from phi4_edge.rollout import verify
from phi4_edge.rollout.verify import Answer, Verdict
from phi4_edge.rollout.verify_prompts import Prompt

OPEN_SECONDS = 30.0  # ssh, and one small answer


@dataclass(frozen=True)
class Questions:
    """What every host is asked, and how long each answer may take (seconds)."""

    prompts: Sequence[Prompt]
    seconds: float
    deadlines: _exchange.Deadlines = field(default_factory=_exchange.Deadlines)

    @property
    def asked(self) -> list[tuple[Prompt, bool]]:
        """Every prompt with whether it is streamed, as often as it is asked."""
        return [(prompt, stream) for prompt in self.prompts for stream in prompt.ways]


def ask_all(
    hosts: Mapping[str, tuple[Host, HostFacts]],
    questions: Questions,
    at_a_time: int,
    tell: Callable[[Verdict], None],
) -> list[Verdict]:
    """Every host's verdict, in the order of `hosts`; `tell` hears of each as it ends. Ctrl-C ends all exchanges."""

    def one(host: Host, facts: HostFacts) -> Verdict:
        verdict = ask_host(host, facts, questions)
        tell(verdict)
        return verdict

    with ThreadPoolExecutor(max(1, min(at_a_time, len(hosts)))) as pool:
        running: list[Future[Verdict]] = [pool.submit(one, *pair) for pair in hosts.values()]
        try:
            return [future.result() for future in running]
        except BaseException:
            for future in running:
                future.cancel()
            questions.deadlines.stop()
            raise


def ask_host(host: Host, facts: HostFacts, questions: Questions) -> Verdict:
    """The host's answers. Raises nothing for whatever its engine does."""
    receipt = facts.receipt
    address = f"{receipt.bind}:{receipt.port}"
    connection = tunnel.http_connection(host, receipt.bind, receipt.port, questions.seconds)
    with contextlib.closing(connection):
        answers = tuple(_answers(connection, _served(receipt.model), questions))
    return Verdict(host.name, receipt.engine, receipt.quantization, receipt.model, address, receipt.release, answers)


def _served(model: str) -> str:
    """The name under which an engine lists the receipt's model; empty for one that the catalog does not know."""
    known = load_catalog().models.get(model)
    return known.served_name if known else ""


def _answers(connection: http.client.HTTPConnection, wanted: str, questions: Questions) -> Iterator[Answer]:
    """After a failed exchange the connection is opened anew; where that fails the rest is not asked."""
    model, dead = "", ""
    for prompt, stream in questions.asked:
        if not dead and connection.sock is None:
            try:
                model = _exchange.open_up(connection, wanted, OPEN_SECONDS, questions.deadlines)
            except (OSError, http.client.HTTPException, Phi4EdgeError) as error:
                dead = str(error) or type(error).__name__
        if questions.deadlines.stopped:
            dead = "interrupted"
        if dead:
            yield verify.unanswered(prompt, stream, dead)
        else:
            yield _ask(connection, prompt, model, stream, questions)


def _ask(
    connection: http.client.HTTPConnection, prompt: Prompt, model: str, stream: bool, questions: Questions
) -> Answer:
    try:
        return _exchange.ask(connection, prompt, model, stream, questions.seconds, questions.deadlines)
    except (OSError, HostFailedError) as error:  # the second connection of an engine that closes after every answer
        connection.close()
        return verify.unanswered(prompt, stream, str(error) or type(error).__name__)
