"""Real workers without ssh: the worker's own program as a process of this machine, with playbooks of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phi4_edge.runner.workers import link as workers_link
from phi4_edge.runner.workers.link import Hello, Link

_WORKER = """
import sys, pathlib
from phi4_edge import content
from phi4_edge.runner.workers import server
folder = pathlib.Path(sys.argv[1])
server.SILENCE = float(sys.argv[2])
server._LEAVE = 120  # on a busy machine a job takes long to begin, and to end
content.playbook = lambda name: folder / f"{name}.yml"
from phi4_edge.commands.worker import command
sys.argv[1:] = []
command()
"""


def argv(folder: Path, silence: float = 45) -> list[str]:
    """A worker whose playbooks are in `folder`, which gives a controller up that says nothing for `silence` seconds."""
    return [sys.executable, "-c", _WORKER, str(folder), str(silence)]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Every connection leads to a process of this machine; those that were made are in the list."""
    links: list[Link] = []
    real: Callable[..., tuple[Link, Hello]] = workers_link.connect

    def connect(target: str) -> tuple[Link, Hello]:
        link, hello = real(target, argv(folder))
        links.append(link)
        return link, hello

    monkeypatch.setattr("phi4_edge.runner.workers.pool.connect", connect)
    monkeypatch.setattr("phi4_edge.content.playbook", lambda name: folder / f"{name}.yml")
    return links
