"""The units in front of an engine: the gateway for its clients, what measures prompts, what tells metrics.

They are no part of the engine, which is never started anew for them, and the gateway takes a new release by a reload,
in which no answer is lost.
"""

from __future__ import annotations

import os
from typing import Collection, Mapping

from hostrun import command
from hostunit import FOLDER, GATEWAY, MEASURE, METRICS, active, must

FRONT = (MEASURE, GATEWAY, METRICS)


def follow(wanted: Mapping[str, bytes], changes: Collection[str], restarted: bool) -> list[str]:
    """Those that the release has run, with its files; what was started although nothing else had to be done.

    `changes`: paths that are other ones now. `restarted`: the engine was stopped, and they may have been with it.
    """
    started = []
    for unit in FRONT:
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
