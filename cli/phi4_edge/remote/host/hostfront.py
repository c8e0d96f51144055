"""The units in front of an engine: the gateway for its clients, what keeps others out, measures prompts, tells metrics.

They are no part of the engine, which is never started anew for them, and the gateway takes a new release by a reload,
in which no answer is lost.
"""

from __future__ import annotations

import os
from typing import Collection, Mapping, Optional

import hostguard
from hostrun import command
from hostunit import FOLDER, GATEWAY, GUARD, MEASURE, METRICS, active, must

FRONT = (GUARD, MEASURE, GATEWAY, METRICS)


def guard(wanted: Mapping[str, bytes], changes: Collection[str], where: Optional[hostguard.Place]) -> list[str]:
    """The engine's port is for whom the release says, before anything listens there; what was done besides `changes`.

    `where`: the port. Rules that others have removed are there again. A kernel that knows no such rules is no failure
    of a release: the unit says so, and whoever looks at the host is told.
    """
    if GUARD not in wanted:
        return []
    runs = active(GUARD)
    if runs and os.path.join(FOLDER, GUARD) not in changes and not (where and hostguard.is_open(where)):
        return []
    command("systemctl", "reset-failed", GUARD)  # fails for one that never failed
    status, _output = command("systemctl", "reload-or-restart", GUARD)
    return [f"started {GUARD}"] if status == 0 and not changes else []


def follow(wanted: Mapping[str, bytes], changes: Collection[str], restarted: bool) -> list[str]:
    """Those that the release has run, with its files; what was started although nothing else had to be done.

    `changes`: paths that are other ones now. `restarted`: the engine was stopped, and they may have been with it.
    """
    started = []
    for unit in (MEASURE, GATEWAY, METRICS):
        if unit not in wanted:
            continue
        if active(unit) and os.path.join(FOLDER, unit) not in changes:
            if unit == GATEWAY and (changes or restarted):
                must("reload", unit)
            continue
        command("systemctl", "reset-failed", unit)  # one that gave up would refuse to start; fails for a new one
        must("restart", "--no-block", unit)
        if not changes and not restarted:
            started.append(f"started {unit}")
    return started
