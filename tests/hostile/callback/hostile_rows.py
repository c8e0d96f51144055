"""Writes every result of a hostile play as it reaches Ansible's own process, and what else changed there with it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader

DOCUMENTATION = """
name: hostile_rows
type: aggregate
short_description: Rows of the hostile-host table
description: One JSON line for each result in the file that the environment variable HOSTILE_ROWS names.
"""
INNOCENT = "innocent"


def preload(play: Any) -> None:
    """The action plugins are imported once here, not again in each of thousands of worker processes."""
    for task in (task for block in play.compile() for task in block.block):
        action_loader.get(task.action, class_only=True)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One line for each result: host, task, state, seconds, result, strange hosts, and whether another was touched."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "hostile_rows"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self._out = Path(os.environ["HOSTILE_ROWS"])
        self._began: dict[tuple[str, str], float] = {}
        self._known: set[str] = set()
        self._facts = ""

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._variables = play.get_variable_manager()
        if not self._known:
            self._known = self._names()
            self._facts = self._innocent()
            preload(play)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began[(host.name, task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._row("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._row("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._row("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._row("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write({"end": True, "custom": stats.custom, "names": sorted(self._names() - self._known)})

    def _names(self) -> set[str]:
        inventory = self._variables._inventory
        return {*inventory.hosts, *inventory.groups}

    def _row(self, state: str, result: Any) -> None:
        host, task, told = result._host, result._task, result._result
        facts = self._innocent()
        touched = facts != self._facts and host.name != INNOCENT
        self._facts = facts
        began = self._began.pop((host.name, task._uuid), time.monotonic())
        self._write(
            {
                "host": host.name, "task": task.name, "state": state, "seconds": time.monotonic() - began,
                "result": told, "touched": touched, "names": sorted(self._names() - self._known),
            }
        )  # fmt: skip

    def _innocent(self) -> str:
        """The facts of the innocent host."""
        try:
            return json.dumps(self._variables._fact_cache.get(INNOCENT), default=str, sort_keys=True)
        except KeyError:
            return ""

    def _write(self, line: dict[str, Any]) -> None:
        with self._out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")
