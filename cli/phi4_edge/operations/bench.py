"""Measures the engines of many hosts where they serve: hosts side by side, what one host does in order.

What came of it stays on the host beside the receipt, where the next look finds it, and on the controller.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core import speed
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.layout import PROJECT, UNIT
from phi4_edge.core.speed import Measured
from phi4_edge.errors import FactsError, HostFailedError, InventoryError, Phi4EdgeError, UnreachableError
from phi4_edge.inference import client, exchange, load
from phi4_edge.inference.exchange import Connect
from phi4_edge.inference.load import Rates
from phi4_edge.inference.verdict import WELL_FORMED
from phi4_edge.inventory import Host
from phi4_edge.operations import verify
from phi4_edge.operations.benched import Benched, Forecast, Wish
from phi4_edge.operations.desk import Desk
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.plan import Planner, Seen
from phi4_edge.operations.serving import served_name, serving
from phi4_edge.report.text import count
from phi4_edge.rollout import start
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.ssh import abreast
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.tunnel import Connection
from phi4_edge.ssh.wire import Open
from phi4_edge.view.view import View

USAGE, KEEP = ("bench", "bench", "usage"), ("bench", "bench", "keep")
# What an engine still does for a request that has been answered is over by then; a second has ticks enough to count.
REST_SECONDS, IDLE_SECONDS = 2.0, 4.0
# Of reading how much memory there is, beside the time that the longest prompt may take.
WATCH_SECONDS = 3.0


def bench(
    fleet: Fleet, wish: Wish, at_a_time: int, view: View, through: exchange.Connect | None = None
) -> tuple[list[Benched], list[HostResult]]:
    """What was measured on the hosts that serve, and what is said of all others. Ctrl-C ends all of it.

    `through`: opens connections to the engines in another way than over SSH.
    """
    with Sessions() as sessions:
        seen = fleet.survey(view, keep=sessions)
        found, problems = serving(fleet, seen)
        locked = start.held({name: facts for name, (_, facts) in found.items()})
        problems += locked.values()
        pairs = [pair for name, pair in found.items() if name not in locked]
        view.phase(f"Measuring {count(len(pairs), 'host')}")
        under_way = Open()
        desk, connect = Desk(fleet, sessions, "bench"), through or exchange.connector(fleet.access, sessions)
        forecasts = {host.name: forecast(fleet, seen.documents[host.name], host, facts) for host, facts in pairs}

        def one(pair: tuple[Host, HostFacts]) -> Benched:
            host, facts = pair
            return Bench(host, facts, forecasts[host.name], desk, connect, wish, under_way, view.note).run()

        def cut() -> None:
            under_way.cut()
            desk.cut()

        def tell(done: Benched) -> None:
            view.note(f"{done.host}: {done.result.reason or 'measured'}")

        return abreast.each(one, pairs, max(1, at_a_time), cut=cut, tell=tell), problems


def forecast(fleet: Fleet, document: Mapping[str, Any], host: Host, facts: HostFacts) -> tuple[str, Forecast]:
    """Where the release runs (cpu, cuda), and what its host's plan says of it without what was measured there."""
    receipt, planner = facts.receipt, Planner({})
    sources = {name: source for name, source in document["sources"].items() if name != "bench"}
    try:
        plan = planner.decide(Seen(host.name, {**document, "sources": sources}, fleet.variables(host))).plan
    except (FactsError, InventoryError):
        return "cuda" if receipt.gpu else "cpu", Forecast()
    same = (plan.engine, plan.quantization) == (receipt.engine, receipt.quantization)
    accelerator = plan.accelerator if same and plan.accelerator else "cuda" if receipt.gpu else "cpu"
    model = planner.catalog.models.get(receipt.model)
    if model is None or model.stand_in_for or not same or plan.forecast is None:
        return accelerator, Forecast()
    memory = receipt.vram_need if receipt.gpu else receipt.memory_need
    said = plan.forecast
    return accelerator, Forecast(said["decode_tokens_per_second"], said["source"], said["uncertainty"], memory or None)


@dataclass
class Bench:
    """The benchmark of one host."""

    host: Host
    facts: HostFacts
    known: tuple[str, Forecast]
    desk: Desk
    connect: Connect
    wish: Wish
    under_way: Open
    tell: Any
    notes: list[str] = field(default_factory=list)

    def run(self) -> Benched:
        """Every phase in its order. Raises nothing for whatever the host does."""
        measured, calls, outcome, why = None, None, Outcome.DONE, ""
        try:
            measured = self._measured()
            calls = self._tool_calls()
            self._keep(measured)
        except UnreachableError as error:
            outcome, why = Outcome.UNREACHABLE, str(error)
        except (OSError, http.client.HTTPException, Phi4EdgeError) as error:
            outcome, why = Outcome.FAILED, str(error) or type(error).__name__
        receipt, step = self.facts.receipt, "see phi4-edge status, and journalctl -u phi4-edge there" if why else ""
        result = HostResult(self.host.name, outcome, why, step, receipt.release)
        return Benched(
            self.host.name, receipt.engine, receipt.quantization, receipt.release, result, measured, self.known[1],
            tuple(self.notes), calls,
        )  # fmt: skip

    def _measured(self) -> Measured:
        receipt, wished = self.facts.receipt, self.wish.load
        streams = self.wish.streams or min(max(1, receipt.parallel), load.MOST_STREAMS)
        with self._opened() as connection:
            served = served_name(receipt.model)
            model = client.model(connection, served, strictly=bool(served))
            load.asked(connection, load.prompt(wished.words, wished.tokens), model, wished.seconds)  # warms it up
            cold = load.cold(connection, model, wished)
            warm = load.warm(connection, model, wished)
            several = load.together(self._opened, model, wished, streams) if streams > 1 else None
            memory = self._at_full_context(connection, model, cold)
        return Measured(
            **{name: getattr(receipt, name) for name in ("model", "engine", "quantization", "threads", "release")},
            accelerator=self.known[0],
            context_length=receipt.context_length,
            streams=streams,
            at=int(time.time()),
            decode=round(cold.decode, 2),
            prefill=_rounded(cold.prefill),
            streams_decode=_rounded(several.decode if several else None),
            streams_prefill=_rounded(several.prefill if several else None),
            first_cold=_rounded(cold.first, 3),
            first_warm=_rounded(warm, 3),
            memory=memory,
            idle=self._idle(),
        )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Connection]:
        receipt = self.facts.receipt
        connection = self.connect(self.host, receipt.bind, receipt.port, self._warn)
        with contextlib.closing(connection), self.under_way.using(connection):
            yield connection

    def _warn(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _at_full_context(self, connection: Connection, model: str, cold: Rates) -> int | None:
        """Bytes that the engine holds at most while it answers a prompt that fills its context."""
        wished, context = self.wish.load, self.facts.receipt.context_length
        if not self.wish.full:
            return None
        if not cold.prompt_tokens or not cold.prefill or not context:
            self._warn("memory at full context was not measured: the engine does not say how many tokens a prompt has")
            return None
        seconds = min(wished.seconds, context / cold.prefill + wished.tokens / cold.decode) + WATCH_SECONDS
        usage: dict[str, Any] = {}
        watch = threading.Thread(target=lambda: usage.update(self._usage(seconds)), daemon=True)
        watch.start()
        try:
            load.full(connection, model, wished, context, cold.prompt_tokens / wished.words)
        except (OSError, HostFailedError) as error:
            connection.close()
            self._warn(f"the full context was not answered: {error}")
            return None
        finally:
            watch.join()
        if self.known[0] == "cuda" and "vram" in usage:
            return max(0, int(usage["vram"]) - self.facts.receipt.vram_held_by_others)
        return usage.get("memory")

    def _idle(self) -> float | None:
        """Share of one core that the engine takes while nobody asks it anything."""
        time.sleep(REST_SECONDS)
        return _rounded(self._usage(IDLE_SECONDS).get("cpu"), 4)

    def _usage(self, seconds: float) -> dict[str, Any]:
        """What the engine takes meanwhile; {} and a note where the host does not say."""
        receipt = self.facts.receipt
        wish = {
            "compose": receipt.service_manager == "compose", "project": PROJECT, "unit": receipt.unit or UNIT,
            "gpu": receipt.gpu, "seconds": seconds,
        }  # fmt: skip
        try:
            said = self.desk.ask(self.host, USAGE, wish, seconds)
            return {name: said[name] for name in ("memory", "vram", "cpu") if said[name] >= 0}
        except Phi4EdgeError as error:
            self._warn(f"memory and idle time were not measured: {error}")
            return {}

    def _tool_calls(self) -> tuple[int, int] | None:
        """How many tool calls were well formed, of so many that were asked for."""
        if not self.wish.questions:
            return None
        questions = verify.Questions(self.wish.questions, self.wish.load.seconds, self.under_way)
        answers = verify.ask_host(self.host, self.facts, questions, self._warn, self.connect).answers
        for answer in answers:
            if answer.error:
                self._warn(f"a tool call was not answered: {answer.error}")
        formed = [answer.tool_call for answer in answers if answer.tool_call and answer.tool_call.state == WELL_FORMED]
        return len(formed), len(answers)

    def _keep(self, measured: Measured) -> None:
        """It lies beside the receipt, with what was measured there before. Raises HostFailedError, UnreachableError."""
        record = speed.document([*self.facts.speed.measured, measured])
        self.desk.ask(self.host, KEEP, {"record": record, "release": measured.release}, 0.0)


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
