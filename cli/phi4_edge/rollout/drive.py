"""Drives a rollout: does what `core.rollout.machine` asks for next, wave by wave, and tells it what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from phi4_edge.core.rollout.machine import Bake, End, Revert, Rollout, RunWave, Stop
from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.rollout import reasons
from phi4_edge.rollout.apply import Play, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.executor import Executor
from phi4_edge.runner.run import HostEvent

BAKE, ROLLBACK = "bake", "rollback"
# What a bake takes beside the watching itself: a generation at its begin and at its end.
_BAKE_MARGIN = 300
# Hosts of ours may be held for a moment by somebody who came in between two plays, and found nothing to do there.
_LOCK_WAIT = 60
_CUT = frozenset({Outcome.INTERRUPTED, Outcome.UNTOUCHED})


class Watch(Protocol):
    """Who sees it happen; the views of the commands are such."""

    def wave(self, wave: Wave) -> None: ...
    def bake(self, wave: Wave, seconds: float) -> None: ...
    def spent(self, bad: int, exceeded: bool) -> None: ...
    def event(self, event: HostEvent) -> None: ...
    def finished(self, host: str, outcome: str) -> None: ...


class Log(Protocol):
    """What keeps it; the controller's journal is one."""

    def event(self, name: str, /, **fields: Any) -> None: ...
    def host_event(self, event: HostEvent) -> None: ...


class NoLog:
    """Keeps nothing: for check mode."""

    def event(self, name: str, /, **fields: Any) -> None:
        return None

    def host_event(self, event: HostEvent) -> None:
        return None


@dataclass
class Driver:
    """`play` is what is done to the hosts of a wave; `before` the release that each host serves now, "" for none.

    `results` holds every host that had its turn.
    """

    executor: Executor
    play: Play
    interrupts: Interrupts
    watch: Watch
    log: Log = field(default_factory=NoLog)
    before: Mapping[str, str] = field(default_factory=dict)
    results: dict[str, HostResult] = field(default_factory=dict)

    def run(self, rollout: Rollout) -> Rollout:
        """The rollout has ended afterwards, and `results` holds all hosts of its waves.

        Raises RunnerError when Ansible itself cannot run.
        """
        while not isinstance(action := rollout.action, End):
            if self.interrupts.stopping and not isinstance(action, Revert):
                rollout = rollout.interrupted()
                continue
            if isinstance(action, RunWave):
                rollout = self._wave(rollout, action.wave)
            elif isinstance(action, Bake):
                rollout = self._bake(rollout, action)
            else:
                rollout = self._revert(rollout, action)
            self.watch.spent(rollout.bad, rollout.exceeded)
            self.log.event("budget", bad=rollout.bad, exceeded=rollout.exceeded)
        self._leave(rollout)
        return rollout

    def _apply(self, play: Play, hosts: Sequence[str]) -> tuple[HostResult, ...]:
        def hear(event: HostEvent) -> None:
            self.log.host_event(event)
            self.watch.event(event)

        return apply(self.executor, play, hosts, self.interrupts, hear)

    def _keep(self, results: Iterable[HostResult], wave: Wave) -> None:
        """What became of hosts is known to everybody."""
        for result in results:
            self.results[result.host] = replace(result, wave=wave.number)
            self.log.event("host", result=self.results[result.host].to_dict(), wave=wave.number)
            self.watch.finished(result.host, str(result.outcome))

    def _wave(self, rollout: Rollout, wave: Wave) -> Rollout:
        self.watch.wave(wave)
        self.log.event("wave", number=wave.number, hosts=list(wave.hosts))
        results = self._apply(self.play, wave.hosts)
        self._keep(results, wave)
        self.log.event("wave_end", number=wave.number)
        return rollout.wave_ended({result.host: result.outcome for result in results})

    def _bake(self, rollout: Rollout, bake: Bake) -> Rollout:
        self.watch.bake(bake.wave, bake.seconds)
        self.log.event("bake", number=bake.wave.number, seconds=bake.seconds)
        found = self.watched(bake.hosts, bake.seconds)
        if any(result.outcome in _CUT for result in found):
            return rollout.interrupted()
        if all(result.outcome is not Outcome.LOCKED for result in found):  # else nobody has watched that host
            self.log.event("bake_end", number=bake.wave.number)
        sick = [reasons.watched_badly(self.results[r.host], r) for r in found if r.outcome not in GOOD]
        self._keep(sick, bake.wave)
        return rollout.bake_ended({result.host: result.outcome for result in sick})

    def watched(self, hosts: Sequence[str], seconds: float) -> tuple[HostResult, ...]:
        """What became of hosts while they were watched for so long; a Ctrl-C ends that at once."""
        limit = self.play.task_timeout and max(self.play.task_timeout, int(seconds) + _BAKE_MARGIN)
        wanted = {"health_watch_seconds": seconds, **self._patience()}
        return self._apply(
            replace(self.play, playbook=BAKE, extra_vars=wanted, task_timeout=limit, through=False), hosts
        )

    def _patience(self) -> dict[str, int]:
        """Waiting for hosts that were ours until a moment ago."""
        return {"lock_wait": max(int(self.play.lock.get("lock_wait", 0)), _LOCK_WAIT)} if self.play.lock else {}

    def watch_again(
        self, hosts: Sequence[str], seconds: float, good: Mapping[str, HostResult]
    ) -> dict[str, HostResult]:
        """Hosts that were `good` before, and are found bad now; none after a Ctrl-C, nor one that another run has."""
        found = self.watched(hosts, seconds)
        bad = [result for result in found if result.outcome not in GOOD | _CUT | {Outcome.LOCKED}]
        return {result.host: reasons.unhealthy_since(good[result.host], result) for result in bad}

    def _revert(self, rollout: Rollout, revert: Revert) -> Rollout:
        here = {host: self.results[host] for host in revert.hosts}
        back = {host: to for host in revert.hosts if (to := self.before.get(host, "")) and to != here[host].release}
        self.log.event("revert", number=revert.wave.number, hosts=list(back), why=revert.why)
        wanted = {"service_rollback_to": back, "receipt_forget_previous": True, **self._patience()}
        play = replace(self.play, playbook=ROLLBACK, extra_vars=wanted, releases=back, through=True)
        gone = {result.host: result for result in (self._apply(play, list(back)) if back else ())}
        told = [
            reasons.reverted(found, gone[host], back[host], revert.why)
            if host in gone
            else reasons.stayed(found, revert.why)
            for host, found in here.items()
        ]
        self._keep(told, revert.wave)
        return rollout.reverted({result.host: result.outcome for result in told})

    def _leave(self, rollout: Rollout) -> None:
        """Hosts whose turn did not come have a result that says why."""
        if rollout.stop is not None:
            self.log.event("stop", why=str(rollout.stop))
        for wave in rollout.waves:
            for host in wave.hosts:
                if host not in self.results:
                    self.results[host] = replace(reasons.left(host, rollout), wave=wave.number)


def stopped(rollout: Rollout) -> str | None:
    """Why it ended early, as the result document words it."""
    return str(rollout.stop) if isinstance(rollout.stop, Stop) else None
