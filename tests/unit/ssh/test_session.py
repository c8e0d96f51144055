"""The table of hostile sshds: each stage of a connection goes wrong in each way, with an innocent host beside it."""

from __future__ import annotations

import contextlib
import importlib
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from phi4_edge import ssh
from phi4_edge.errors import InterruptedRunError
from phi4_edge.inventory import Host, SshSettings
from phi4_edge.ssh import session
from phi4_edge.ssh.errand import Errand
from tests.unit.ssh.standin_sshd import BEHAVIOURS, HOST_KEY, STAGES, Server, serving

pytestmark = pytest.mark.slow

# The module has a function of the same name.
visits: Any = importlib.import_module("phi4_edge.ssh.visit")

# In place of 30 s and 15 s; the machine of the tests may be busy with others.
HOST_SECONDS, ANSWER_SECONDS = 6.0, 3.0
MOST_MEMORY = 64 * 1024  # KiB that a whole column of the table may add: a fraction of what a flood would
SLOW = {"drip", "silence"}


@dataclass(frozen=True)
class Column:
    """One behaviour at all stages: the findings, and when the innocents were through, in seconds from the start."""

    findings: dict[str, ssh.Refusal]
    innocents: dict[str, float]
    took: float
    memory: int


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshSettings]:
    folder = tmp_path_factory.mktemp("ssh")
    key = folder / "key"
    paramiko.ECDSAKey.generate().write_private_key_file(str(key))
    key.chmod(0o600)
    known = folder / "known"
    known.write_text(f"gateway {HOST_KEY.get_name()} {HOST_KEY.get_base64()}\n")
    args = f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none -o HostKeyAlias=gateway -F none"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        patch.setattr(session, "HOST_SECONDS", HOST_SECONDS)
        patch.setattr(session, "ANSWER_SECONDS", ANSWER_SECONDS)
        yield SshSettings(private_key_file=str(key), common_args=args)


def host(name: str, port: int, settings: SshSettings) -> Host:
    return Host(name, "127.0.0.1", port, user="edge", ssh=settings)


Visitor = Callable[[list[Host]], Sequence[ssh.Refusal]]
ERRAND = Errand("true", b"x" * 20_000, 2.0, 8192, lambda output: True)


def worked(hosts: list[Host]) -> list[ssh.Refusal]:
    """The findings of a visit that does something at each host."""
    purpose: Any = visits.Purpose(work=lambda guest: guest.do(ERRAND))
    return [found.refusal for found in visits.visit(hosts, purpose)]


@pytest.fixture(scope="module")
def columns(settings: SshSettings) -> dict[str, Column]:
    return {
        f"{behaviour}{kind}": column(behaviour, settings, visitor)
        for behaviour in BEHAVIOURS
        for kind, visitor in VISITORS.items()
    }


def column(behaviour: str, settings: SshSettings, visitor: Visitor) -> Column:
    hosts, innocent = [], {}
    with contextlib.ExitStack() as stack:
        for stage in STAGES:
            hosts.append(host(stage, stack.enter_context(serving(Server(stage, behaviour))), settings))
            innocent[f"beside {stage}"] = Server()
            port = stack.enter_context(serving(innocent[f"beside {stage}"]))
            hosts.append(host(f"beside {stage}", port, settings))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.monotonic()
        findings = visitor(hosts)
        took = time.monotonic() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        # The last thing that a host is asked is sudo.
        ended = {name: max(server.asked.values(), default=took) - start for name, server in innocent.items()}
    return Column({finding.host: finding for finding in findings}, ended, took, memory)


VISITORS: dict[str, Visitor] = {"": ssh.check, " at work": worked}
COLUMNS = [f"{behaviour}{kind}" for behaviour in BEHAVIOURS for kind in VISITORS]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("behaviour", COLUMNS)
def test_a_hostile_sshd_is_one_finding_and_its_neighbour_is_well(
    columns: dict[str, Column], behaviour: str, stage: str
) -> None:
    seen = columns[behaviour]
    finding, beside = seen.findings[stage], seen.findings[f"beside {stage}"]
    assert (beside.kind, beside.message) == ("ok", "")
    assert not finding.ok
    assert finding.exit_code in (3, 5)
    assert "found" in finding.reason
    assert "needed" in finding.reason
    assert finding.next_step
    assert finding.message.isprintable()
    assert len(finding.message) < 1000


@pytest.mark.parametrize("behaviour", COLUMNS)
def test_no_host_is_waited_for_longer_than_its_time_and_none_for_another(
    columns: dict[str, Column], behaviour: str
) -> None:
    seen = columns[behaviour]
    assert seen.took < HOST_SECONDS + visits.GRACE_SECONDS + 3  # what a busy machine adds
    if behaviour.split(maxsplit=1)[0] in SLOW:  # else all are through at about the same time
        assert max(seen.innocents.values()) < seen.took
        assert sorted(seen.innocents.values())[len(STAGES) // 2] < HOST_SECONDS - 1
    assert seen.memory < MOST_MEMORY


def test_a_host_that_drips_is_unreachable_and_says_for_how_long(columns: dict[str, Column]) -> None:
    finding = columns["drip"].findings["output"]
    assert (finding.kind, finding.exit_code) == ("unreachable", 5)
    assert "no complete answer within 3 s" in finding.reason
    for stage in ("banner", "kex", "auth", "channel", "exec"):
        assert columns["drip"].findings[stage].kind == "unreachable", stage


def test_a_host_that_floods_is_cut_at_once(columns: dict[str, Column]) -> None:
    assert columns["flood"].findings["kex"].kind == "unreachable"
    assert columns["flood"].findings["auth"].reason.startswith("found more than 262144 bytes")
    # Nothing of what it says is Python, or the echo of a shell; or it is cut before that is known.
    assert columns["flood"].findings["output"].kind in ("no_python", "no_shell", "unreachable")
    assert columns["flood"].took < HOST_SECONDS


def test_a_connection_that_ends_is_no_missing_python(columns: dict[str, Column]) -> None:
    for behaviour in ("close", "garbage"):
        assert {columns[behaviour].findings[stage].kind for stage in STAGES} <= {
            *("unreachable", "auth_refused", "turned_away"),
        }


@pytest.mark.parametrize("stage", STAGES)
def test_a_wish_to_stop_ends_it_whatever_the_host_does(settings: SshSettings, stage: str) -> None:
    wish, start = threading.Event(), 0.0
    with serving(Server(stage, "silence")) as port:
        threading.Timer(1.0, wish.set).start()
        with pytest.raises(InterruptedRunError, match="nothing was changed"):
            ssh.check([host("gw1", port, settings)], stopping=wish.is_set)
        start = time.monotonic()
        assert not lingering(start + 2), "threads of the preflight go on"


def lingering(until: float) -> list[Any]:
    """Threads of ours that are left: paramiko's of the client's side, and those that check hosts."""
    while True:
        left: list[Any] = [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("host-")
            or (isinstance(thread, paramiko.Transport) and not thread.server_mode and thread.is_alive())
        ]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.05)


def test_a_check_that_hangs_where_no_budget_reaches_is_given_up(
    settings: SshSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a name server would that never answers: the thread hangs, and nobody waits for it."""
    release = threading.Event()
    monkeypatch.setattr(visits, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(session, "HOST_SECONDS", 0.5)
    monkeypatch.setattr(visits, "resolve", lambda host: release.wait(30))
    start = time.monotonic()
    found = ssh.check([host(name, 1, settings) for name in ("gw1", "gw2")])
    assert time.monotonic() - start < 15  # a busy machine has its moments; what hangs does so for 30 s
    release.set()
    assert [finding.kind for finding in found] == ["unreachable", "unreachable"]
    assert "no end of the preflight check within 0.5 s" in found[0].reason
