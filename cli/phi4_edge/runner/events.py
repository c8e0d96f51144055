"""ansible-runner's events as HostEvents, and what they add up to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from phi4_edge.core.text import printable

Kind = Literal["start", "ok", "changed", "failed", "unreachable", "skipped", "detail"]
Status = Literal["ok", "failed", "unreachable", "cancelled"]

_KINDS: dict[str, Kind] = {
    "runner_on_start": "start",
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}
_TEXT_LINES = 60  # of Ansible's own words: the last ones say why it could not run
_MOST_MESSAGE = 2000
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class HostEvent:
    """One thing that happened on one host. `seconds`: how long its task took. `result`: the host's untrusted word.

    Of kind `detail` is what Ansible tells of its own work, of no host, as `message`.
    """

    host: str
    kind: Kind
    role: str = ""
    task: str = ""
    message: str = ""
    seconds: float = 0.0
    result: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True)
class HostOutcome:
    """What became of one host: `message` says why where it is not ok; `facts` are those that the run set on it.

    `timed_out`: it failed, and some task on it took longer than a task may; not only the last one, for a failure is
    followed by the way back.
    """

    host: str
    status: Status
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    changed: int = 0
    timed_out: bool = False


class Collector:
    """Turns raw events into HostEvents for `on_event`, and remembers what the outcome needs.

    Ansible's output also carries text of hosts, and ansible-runner finds its events in that output. `job` is a number
    that only the run knows and that every true event repeats: a host cannot forge an event. `detailed`: `on_event`
    hears Ansible's own details too.
    """

    def __init__(self, job: int, on_event: Callable[[HostEvent], None], detailed: bool = False) -> None:
        self._job, self._detailed = job, detailed
        self._tell = on_event
        self._last: dict[str, HostEvent] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, int] = {}
        self._late: set[str] = set()
        self._words: list[str] = []
        self._open: dict[str, str] = {}
        self._given_up: dict[str, str] = {}
        self._heard = time.monotonic()
        self.stats: Mapping[str, Mapping[str, int]] | None = None

    def take(self, raw: Mapping[str, Any]) -> bool:
        """Takes one raw event. False: ansible-runner need not keep it on disk."""
        name, data = raw.get("event"), raw.get("event_data")
        if raw.get("job_id") != self._job or not isinstance(data, Mapping):
            self._words = [*self._words, str(raw.get("stdout", ""))][-_TEXT_LINES:]
            return False
        self._heard = time.monotonic()
        if name == "playbook_on_stats":
            self.stats = data
        elif name in _KINDS:
            self._host_event(_KINDS[name], data)
        elif name in {"warning", "error", "verbose", "system_warning"}:
            said = str(raw.get("stdout", ""))
            self._words = [*self._words, said][-_TEXT_LINES:]
            if self._detailed and name == "verbose":
                self._tell(HostEvent("", "detail", message=printable(said, _MOST_MESSAGE)))
        return False

    def _host_event(self, kind: Kind, data: Mapping[str, Any]) -> None:
        host, result = str(data.get("host", "")), data.get("res")
        result = result if isinstance(result, Mapping) else _EMPTY
        if kind == "ok" and result.get("changed") is True:
            kind = "changed"
            self._changed[host] = self._changed.get(host, 0) + 1
        if kind == "failed" and result.get("timedout"):
            self._late.add(host)
        if kind == "failed" and data.get("ignore_errors"):
            kind = "ok"
        facts = result.get("ansible_facts")
        # Also of a task that failed: Ansible forgets them, but they say why in a form that a program understands.
        if kind in {"ok", "changed", "failed"} and isinstance(facts, Mapping):
            self._facts.setdefault(host, {}).update(facts)
        event = HostEvent(
            host=host,
            kind=kind,
            role=str(data.get("role") or ""),
            task=str(data.get("task") or ""),
            message=_message(result) if kind in {"failed", "unreachable"} else "",
            seconds=float(data.get("duration") or 0.0),
            result=result,
        )
        if kind == "start":
            self._open[host] = event.task
        else:
            self._open.pop(host, None)
            previous = self._last.get(host)
            if previous is None or previous.kind not in {"failed", "unreachable"} or event.message:
                self._last[host] = event
        self._tell(event)

    @property
    def quiet(self) -> float:
        """Seconds since the last thing that happened."""
        return time.monotonic() - self._heard

    def give_up(self, seconds: float) -> bool:
        """The hosts whose task has not ended have failed, after so many seconds of silence; whether there are any."""
        for host, task in self._open.items():
            self._given_up[host] = (
                f"found no end of {printable(task, 100, lines=False) or 'a task'} within {seconds:g} s, needed one: "
                "see what the host or its connection plugin waits for; there is no terminal to answer on"
            )
        return bool(self._given_up)

    def words(self) -> str:
        """What Ansible itself said, printable; for a run that gave no result."""
        lines = [printable(line, 500).strip() for line in self._words]
        return "\n".join(line for line in lines if line)

    def outcomes(self, cancelled: bool) -> dict[str, HostOutcome]:
        """What became of every host that the run touched. Without Ansible's own count a host that did not fail counts
        as cancelled."""
        counts = {key: dict((self.stats or {}).get(key) or {}) for key in ("dark", "failures")}
        hosts = {host: None for key in ("processed", "dark", "failures") for host in (self.stats or {}).get(key) or {}}
        hosts = {**hosts, **dict.fromkeys(self._last), **dict.fromkeys(self._given_up)}
        return {host: self._outcome(host, counts, cancelled) for host in hosts}

    def _outcome(self, host: str, counts: Mapping[str, Mapping[str, int]], cancelled: bool) -> HostOutcome:
        last = self._last.get(host)
        status: Status = "ok"
        if self.stats is None:
            bad = last is not None and last.kind in {"failed", "unreachable"}
            status = ("failed" if last and last.kind == "failed" else "unreachable") if bad else "cancelled"
        elif counts["dark"].get(host):
            status = "unreachable"
        elif counts["failures"].get(host):
            status = "failed"
        message = last.message if last is not None and status in {"failed", "unreachable"} else ""
        if status == "cancelled" and cancelled:
            message = "interrupted"
        late = status == "failed" and host in self._late
        if host in self._given_up:
            status, message, late = "failed", self._given_up[host], True
        return HostOutcome(host, status, message, self._facts.get(host, {}), self._changed.get(host, 0), late)


def _message(result: Mapping[str, Any]) -> str:
    """Why a task failed: its message, with what the program printed where the message alone says nothing."""
    if result.get("_ansible_no_log") or "censored" in result:
        return "failed; the output is hidden because it may hold secrets"
    parts = [str(result.get("msg") or "")]
    if parts[0] in {"", "MODULE FAILURE", "non-zero return code"}:
        parts += [str(result.get(key) or "") for key in ("stderr", "stdout", "module_stderr", "module_stdout")]
    for item in result.get("results") or ():
        if isinstance(item, Mapping) and item.get("failed"):
            parts.append(str(item.get("msg") or ""))
    told = printable("\n".join(part for part in dict.fromkeys(parts) if part), _MOST_MESSAGE)
    return told.strip() or "failed without a message"
