"""One `trust push`: the keys of this controller are brought to the hosts, and each host's answer is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from phi4_edge.commands import _options
from phi4_edge.core.rollout.words import VERBS
from phi4_edge.report import summary
from phi4_edge.report.text import count

if TYPE_CHECKING:
    from phi4_edge.operations.options import Reach


def run(inventory: tuple[str, ...], reach: Reach, keys: Mapping[str, str], rotations: str) -> NoReturn:
    """Every host was asked to trust `keys` (lines of minisign, by name); ends with the worst result's exit code."""
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.operations.fleet import Fleet
    from phi4_edge.operations.rollout import lock_variables, new_id
    from phi4_edge.rollout.apply import Play, apply
    from phi4_edge.rollout.interrupt import Interrupts
    from phi4_edge.rollout.result import document
    from phi4_edge.runner.executor import Local
    from phi4_edge.view.view import STEPS

    fleet = Fleet.open(inventory, reach)
    variables = {"trust_keys": dict(keys), "trust_rotations": rotations, "trust_store": str(Store().root)}
    play = Play("trust", variables, lock=lock_variables(new_id(), "trust", 0))
    with fleet.view("table", {**STEPS, "trust": "trusting"}) as view, Interrupts() as interrupts:
        seen = fleet.survey(view, interrupts)
        view.phase(f"Bringing {count(len(keys), 'key')} to {count(len(seen.documents), 'host')}")
        done = apply(Local(fleet.access), play, list(seen.documents), interrupts, view.event)
    results = {result.host: result for result in (*seen.problems, *done)}
    result = document([results[host.name] for host in fleet.hosts], interrupts.stopping)
    _options.show(summary.summary(result, VERBS["trust"], _options.width()))
    raise click.exceptions.Exit(result["exit_code"])
