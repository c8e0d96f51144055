"""Takes away what was installed on a fleet, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Waving
from phi4_edge.operations.rollout import connected, lock_variables, new_id
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult
from phi4_edge.runner.executor import Local
from phi4_edge.view.view import View


def remove(fleet: Fleet, waving: Waving, view: View) -> tuple[Sequence[HostResult], bool]:
    """Every host's result, in inventory order; and whether Ctrl-C was pressed."""
    executor = connected(fleet, waving, view) if waving.workers else Local(fleet.access)
    lock = lock_variables(new_id(), "remove", waving.lock_wait)
    play = Play("remove", task_timeout=waving.task_timeout, lock=lock)
    with Interrupts(on_first=lambda: view.note("stopping; Ctrl-C again stops at once")) as interrupts:
        seen = fleet.survey(view, interrupts)
        view.phase(f"Removing from {count(len(seen.documents), 'host')}")
        done = apply(executor, play, list(seen.documents), interrupts, view.event)
    for result in done:
        view.finished(result.host, str(result.outcome))
    found = {result.host: result for result in (*seen.problems, *done)}
    return [found[host.name] for host in fleet.hosts], interrupts.stopping
