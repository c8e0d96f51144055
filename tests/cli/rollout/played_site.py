"""A site for commands: hosts whose facts are files, and whose runs are played.

Leaves out preflight, the probe and Ansible; the commands, the record and the schema of the result are real.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from click.testing import CliRunner, Result
from referencing import Registry, Resource

from phi4_edge.data import schema
from phi4_edge.main import cli
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.rollout.result import HostResult, Outcome
from tests.unit.rollout.fake_executor import FakeExecutor

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hosts"
HOSTS = ("gw1", "gw2", "gw3", "gw4", "gw5")


@dataclass
class Site:
    """Hosts as they are found: `down` cannot be reached, `lock` and `receipt` are texts of the probe by host."""

    fake: FakeExecutor = field(default_factory=FakeExecutor)
    down: tuple[str, ...] = ()
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def survey(self, fleet: Fleet) -> Survey:
        names = [host.name for host in fleet.hosts]
        self.seen += names
        problems = tuple(HostResult(host, Outcome.UNREACHABLE, "down") for host in names if host in self.down)
        return Survey({host: self._facts(host) for host in names if host not in self.down}, problems)

    def _facts(self, host: str) -> Mapping[str, Any]:
        document = json.loads((FIXTURES / "n150-8gb.json").read_text())
        texts = {name: {"text": text} for name, text in self.sources.get(host, {}).items()}
        return {**document, "host": host, "sources": {**document["sources"], **texts}}

    def run(self, *words: str) -> Result:
        command, *rest = words
        return CliRunner().invoke(cli, [command, ",".join(HOSTS), "--yes", *rest], prog_name="phi4-edge")


def result(found: Result) -> dict[str, Any]:
    """The result document, which its schema describes."""
    last: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    registry: Registry[Any] = Registry().with_resource("result.schema.json", Resource.from_contents(schema("result")))
    jsonschema.Draft202012Validator(schema("result"), registry=registry).validate(last)
    return last


def outcomes(found: Result) -> dict[str, str]:
    return {host["host"]: host["outcome"] for host in result(found)["hosts"]}


def site_state() -> str:
    return os.environ["PHI4_EDGE_STATE"]


def press_in(playbook: str, host: str) -> FakeExecutor:
    """Ctrl-C once, when the playbook is at the host."""
    pressed: list[int] = []

    def after(where: str, who: str) -> None:
        if (where, who) == (playbook, host) and not pressed:
            pressed.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    return FakeExecutor(after=after)
