"""A fleet whose releases are cheap to change, and faults at exact moments of a host's way from one to the next."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab import faults
from phi4_edge.lab.model import Lab
from tests.e2e import warm_engine
from tests.e2e.gateway import Cli, Done, Gateway

T = TypeVar("T")
HOOK = "/run/phi4-edge-hook"
MOST_LENT = 4  # hosts that a file can borrow
# Between two looks at a host past SSH, each of which costs Docker a twentieth of a second of processor time.
POLL_SECONDS = 0.5
# A dead run's lock frees itself after this time here, so that a table of many kills does not wait half a minute each.
QUICK_LOCK = {"lock_stale_seconds": 3, "lock_heartbeat_seconds": 1}
# As soon as the committed release is another one: wait until the bake looks, then kill the engine like the kernel does
# when memory runs out.
SABOTEUR = """
was=$(readlink /opt/phi4-edge/current)
systemd-run --quiet --unit=saboteur --collect sh -c '
  while grep -q "\\"release\\":\\"'${was#releases/}'\\"" /var/lib/phi4-edge/receipt.json; do sleep 0.2; done
  sleep 4; kill -9 $(systemctl show phi4-edge -p MainPID --value)'
"""


# A variable that only a task of Ansible's obeys: who has it is changed by Ansible, also where settings alone change.
BY_ANSIBLE = {"receipt_forget_previous": "false"}


def rows(every: Sequence[T], part: Collection[T]) -> list[object]:
    """The rows of a table for pytest. All of them take an hour on two cores: those that are not in `part` run with
    `make tables` alone."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=() if row in part else pytest.mark.full)
        for row in every
    ]


@dataclass
class Fleet:
    """Lab hosts that serve the tiny model; `release` decides which release the inventory wants."""

    lab: Lab
    cli: Cli
    folder: Path
    variables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    context: int = 1024
    # So many hosts of the lab; 0 for all.
    count: int = 0

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.lab.hosts][: self.count or None]

    @property
    def inventories(self) -> list[Path]:
        return [self.folder / "gateways.ini", self.folder / "rollout.ini"]

    def host(self, name: str) -> Gateway:
        return Gateway(self.lab, name)

    def write(self) -> None:
        """The inventory files say which hosts there are and what is wanted of them."""
        others = tuple(f"{host.name} " for host in self.lab.hosts if host.name not in self.names)
        every = self.lab.inventory.read_text().splitlines()
        self.inventories[0].write_text("\n".join(line for line in every if not line.startswith(others or ("\0",))))
        lines = ["[gateways]"]
        for name in self.names:
            wanted = {**QUICK_LOCK, "phi4_context_length": self.context, **self.variables.get(name, {})}
            lines.append(" ".join([name, *(f"{key}='{value}'" for key, value in wanted.items())]))
        self.inventories[1].write_text("\n".join(lines) + "\n")

    def next_release(self) -> None:
        """Every host's plan is a release that it never had."""
        self.context += 64
        self.write()

    def run(self, command: str, *words: str | Path, timeout: float = 900) -> Done:
        """A command over the fleet."""
        return self.cli.run(command, *self.inventories, *words, timeout=timeout)

    def run_id(self, verb: str, rollout: str) -> str:
        """What `phi4-edge rollout` says of a rollout, as JSON."""
        return self.cli.run("rollout", verb, rollout, "--output", "json").expect(0).out

    def releases(self) -> dict[str, str]:
        """Release that each host's receipt names."""
        return {name: str(self.host(name).receipt()["release"]) for name in self.names}

    def serving(self, name: str) -> str:
        """Release that serves on the host now: it generates, and its files are the current ones. Waits for a start."""
        host = self.host(name)
        host.sh("for i in $(seq 120); do curl -sf -o /dev/null http://127.0.0.1:8080/v1/models && exit 0; "
                "sleep 0.5; done; exit 1")  # fmt: skip
        assert host.chat("Say hello.", 4)["usage"]["completion_tokens"] >= 1
        return host.sh("readlink /opt/phi4-edge/current").strip().removeprefix("releases/")

    def mark(self, names: Sequence[str]) -> dict[str, str]:
        """What must stay the same on hosts that nobody touches: process, receipt, journal, and files from here on."""
        for name in names:
            self.host(name).sh("touch /run/mark; sleep 0.01")
        return {name: self.trace(name) for name in names}

    def trace(self, name: str) -> str:
        look = (
            "systemctl show phi4-edge -p MainPID,NRestarts; sha256sum /var/lib/phi4-edge/*.json; "
            # No directories: a lock that comes and goes leaves its time on the one that it was in.
            "find /opt/phi4-edge /var/lib/phi4-edge /etc/systemd/system ! -type d -newer /run/mark | sort"
        )
        return self.host(name).sh(look)

    def hook(self, name: str, at: str, do: str) -> None:
        """The host fails or waits when it comes to `at` (step:before or step:after)."""
        self.host(name).sh(f"cat > {HOOK}; rm -f {HOOK}.reached", stdin=json.dumps({"at": at, "do": do}))

    def unhook(self, names: Sequence[str]) -> None:
        for name in names:
            self.host(name).sh(f"rm -f {HOOK} {HOOK}.reached; systemctl stop saboteur 2>/dev/null; true")

    def reached(self, name: str) -> bool:
        """Whether the host waits at its hook; asked past SSH."""
        return faults.execute(self.lab, name, ["test", "-e", f"{HOOK}.reached"]).returncode == 0

    def await_hooks(self, names: Sequence[str], first: bool = False, seconds: float = 120) -> None:
        """Every host waits at its hook, or the first of them does."""
        end, enough = time.monotonic() + seconds, any if first else all
        while not enough(self.reached(name) for name in names):
            assert time.monotonic() < end, f"{names} did not come to their hooks in {seconds} s"
            time.sleep(POLL_SECONDS)

    @contextmanager
    def cut_at(self, *groups: Sequence[str], first: bool = False) -> Iterator[None]:
        """The power of the hosts of each group is cut when they wait (or the first does); it is back afterwards."""

        def cut(group: Sequence[str]) -> None:
            self.await_hooks(group, first)
            for name in group:
                faults.power_off(self.lab, name)

        names = [name for group in groups for name in group]
        threads = [threading.Thread(target=cut, args=(group,)) for group in groups]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join()
            for name in names:
                faults.power_on(self.lab, name)


class Fleets:
    """Gateways that serve, for whichever files of a test session want some: booted once, lent to one after the other.

    A file finds them serving, and leaves them as it likes: those that cannot be provisioned any more are replaced.
    """

    def __init__(self, ready: Cli) -> None:
        self.ready = ready
        self.booted = 0
        self.lab: Lab | None = None
        self.context = 1024

    @contextmanager
    def lend(self, folder: Path, hosts: int) -> Iterator[Fleet]:
        """So many gateways with one release of the tiny model and our real engine; `folder` is for what is said of
        them."""
        found = self._prepared(self.lab, folder, hosts) if self.lab else None
        if found is None or found.run("provision", "--yes").code:
            found = self._prepared(self._boot(), folder, hosts)
            found.run("provision", "--yes").expect(0)
        warm_engine.keep(self.ready, found.lab, found.names[0])
        try:
            yield found
        finally:
            self.context = found.context

    def _boot(self) -> Lab:
        """New hosts, enough for every file; those that nobody has asked for yet only run."""
        self.close()
        self.booted += 1
        name = f"lent-{os.getpid()}-{self.booted}"
        self.lab = lab_room.up(name, lab_room.load_profiles().choose(["gateway-6gb"] * MOST_LENT))
        return self.lab

    def _prepared(self, lab: Lab, folder: Path, hosts: int) -> Fleet:
        assert hosts <= MOST_LENT
        found = Fleet(lab, self.ready, folder, context=self.context, count=hosts)
        found.unhook(found.names)
        warm_engine.bring(self.ready, lab, *found.names)
        found.write()
        return found

    def close(self) -> None:
        """No host is left."""
        if self.lab is not None:
            lab_room.down(self.lab.name)
            self.lab = None
