"""Ctrl-C: the first lets hosts that are switching finish, the second ends everything."""

from __future__ import annotations

import os
import signal

from phi4_edge.rollout.interrupt import Interrupts


def test_nothing_ends_before_the_first_ctrl_c() -> None:
    with Interrupts() as interrupts:
        assert not interrupts.stopping
        assert not interrupts.must_end(critical=False)


def test_the_first_ctrl_c_ends_a_run_in_which_no_host_is_switching() -> None:
    told: list[str] = []
    with Interrupts(on_first=lambda: told.append("first")) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.stopping
        assert interrupts.must_end(critical=False)
        assert not interrupts.must_end(critical=True)
        assert interrupts.must_end(critical=True, grace=-1.0)
    assert told == ["first"]


def test_the_second_ctrl_c_ends_hosts_that_are_switching_too() -> None:
    told: list[str] = []
    with Interrupts(lambda: told.append("first"), lambda: told.append("second")) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.must_end(critical=True)
        os.kill(os.getpid(), signal.SIGINT)
    assert told == ["first", "second"]


def test_a_terminal_that_goes_away_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.stopping
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
