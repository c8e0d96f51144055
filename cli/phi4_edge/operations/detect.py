"""Looks at hosts that can be reached: what they are. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from phi4_edge.core.packages.commands import see
from phi4_edge.core.remedies import remedy
from phi4_edge.errors import InterruptedRunError
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner import program
from phi4_edge.runner import run as runner_run
from phi4_edge.runner.access import Access

# Variables of role probe: for a look at every byte, and for a sample of the memory's bandwidth.
DEEP, SAMPLE = "probe_deep", "probe_sample"
# Of one task on one host. A look takes seconds; the slowest boards, busy with others, need two minutes.
LOOK_SECONDS = 240
# The same where every managed byte is read: 2.4 GB at the 4 MB/s of a worn-out SD card take ten minutes.
DEEP_SECONDS = 1020
# What Python, Ansible and ssh say to who asks where there is no terminal. What a host says of its own has other words.
_ASKED = re.compile(r"EOFError|EOF when reading|I/O operation on closed file|'/dev/tty'|stdin is not interactive")


@dataclass(frozen=True)
class Survey:
    """Raw facts documents by host in inventory order, and the hosts that gave none."""

    documents: Mapping[str, Mapping[str, Any]]
    problems: tuple[HostResult, ...]


def survey(
    access: Access,
    hosts: Sequence[str],
    settled: Mapping[str, Mapping[str, Any] | HostResult],
    interrupts: Interrupts,
    on_event: Callable[[runner_run.HostEvent], None],
    wanted: Mapping[str, Any] = MappingProxyType({}),
) -> Survey:
    """Every host is in exactly one part of the survey; Ansible looks at those that are not `settled`.

    `wanted`: variables of role probe, such as DEEP.

    Raises InterruptedRunError after Ctrl-C (nothing was changed) and RunnerError when Ansible itself cannot run.
    """
    found = dict(settled)
    left = [host for host in hosts if host not in found]
    if left and not interrupts.stopping:
        seconds = DEEP_SECONDS if wanted.get(DEEP) else LOOK_SECONDS
        run = access.run("detect", left, dict(wanted), task_timeout=seconds)
        outcome = program.execute(run, on_event, lambda: interrupts.must_end(critical=False))
        found |= {host: _document(host, outcome.hosts.get(host)) for host in left}
    if interrupts.stopping:
        raise InterruptedRunError("interrupted while checking the hosts; nothing was changed on any host")
    problems = tuple(one for host in hosts if isinstance(one := found[host], HostResult))
    documents = {host: one for host in hosts if not isinstance(one := found[host], HostResult)}
    return Survey(documents, problems)


def _document(host: str, end: runner_run.HostOutcome | None) -> Mapping[str, Any] | HostResult:
    """The host's document, or why there is none: nothing was changed yet, so a failure here is one of preflight."""
    if end is not None and end.status == "unreachable":
        step = asked_for(end.message) or remedy(end.message) or f"try it: ansible -i INVENTORY {host} -m raw -a true"
        return HostResult(host, Outcome.UNREACHABLE, end.message, step)
    document = end.facts.get("phi4_facts") if end is not None else None
    if isinstance(document, Mapping):
        return {**document, "host": host}
    return unanswered(host, (end.message if end is not None else "") or "the probe returned no facts")


def unanswered(host: str, reason: str) -> HostResult:
    """The result of a host that lets us in and gave no document for this reason."""
    return HostResult(host, Outcome.PREFLIGHT, reason, asked_for(reason) or remedy(reason) or _next(host, reason))


def _next(host: str, reason: str) -> str:
    """What to do about a reason that nobody knows. Those of ours have said it already."""
    if ", needed " in reason:
        return see(host)
    return "it needs Python 3.8 or newer and sudo without a password, or --ask-become-pass"


def asked_for(message: str) -> str:
    """The next step where somebody wanted an answer from a terminal, "" where the message says nothing of the kind."""
    if not _ASKED.search(message):
        return ""
    return (
        "the connection asks for something, and a run has no terminal to answer on: put the answer into the inventory "
        "(a password, a host key, a Kerberos ticket beforehand), or remove ansible_connection there"
    )
