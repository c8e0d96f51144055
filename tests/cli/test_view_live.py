"""The live board on a terminal: a real one (pty) with a small emulator behind it that keeps what it would show."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TextIO

import pytest

from phi4_edge.core.rollout.waves import Wave
from phi4_edge.runner.run import HostEvent
from phi4_edge.view import live
from phi4_edge.view.live import LiveView
from phi4_edge.view.screen import Screen
from phi4_edge.view.view import STEPS, progress_view

CANARY = Wave("canary", 0, ("gw1", "gw2"))
EVIL = "gw\x1b[2J\x1b]0;owned\x07[bold red]\u202e\x9b2J\r\x00"
SEQUENCES = re.compile(r"\x1b\[(\??[0-9]*)([A-Za-z])")


@dataclass
class Terminal:
    """What a person would see; knows exactly the sequences that the board may use, and fails at any other."""

    master: int
    stream: TextIO
    text: str = ""
    rows: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> str:
        """What was written since the last time."""
        new = b""
        while select.select([self.master], [], [], 0)[0]:
            new += os.read(self.master, 65536)
        self.text += (text := new.decode())
        self._feed(text)
        return text

    def until(self, seen: Callable[[], bool]) -> None:
        """Reads until that is so, for a minute at most: a busy machine draws late."""
        end = time.monotonic() + 60
        while not seen():
            assert time.monotonic() < end, self.rows
            time.sleep(0.02)
            self.read()

    def _feed(self, text: str) -> None:
        while text:
            if match := SEQUENCES.match(text):
                self._obey(*match.groups())
                text = text[match.end() :]
                continue
            char, text = text[0], text[1:]
            if char == "\r":
                self.column = 0
            elif char == "\n":
                self.row += 1
                self.rows += [""] * (self.row + 1 - len(self.rows))
            else:
                assert char.isprintable(), repr(char)
                line = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = line[: self.column] + char + line[self.column + 1 :]
                self.column += 1

    def _obey(self, number: str, what: str) -> None:
        if what == "A":
            self.row -= int(number)
            assert self.row >= 0
        elif what == "J":
            assert number == ""
            self.rows[self.row :] = [self.rows[self.row][: self.column]]
        elif what == "K":
            assert number == "2"
            self.rows[self.row] = ""
        else:
            assert (number, what) in {(mode, on) for mode in ("?7", "?2026") for on in "hl"} or what == "m"

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        made = Terminal(master, stream)
        made.resize(80, 24)
        yield made
        if master == made.master:
            os.close(master)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as the board sees it, which stands still."""
    now = [1000.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def begin(board: LiveView) -> None:
    board.rollout("20261122T153000Z-ab12cd", (CANARY,), "0")
    board.wave(CANARY)
    board.event(HostEvent("gw1", "start", "artifact", "Push"))


@pytest.mark.usefixtures("clock")
def test_the_board_follows_and_stays_at_the_end_below_what_was_noted(terminal: Terminal) -> None:
    with LiveView(STEPS, terminal.stream) as board:
        begin(board)
        terminal.until(lambda: "  gw1  running          0s  receiving files: Push" in terminal.shown)
        board.note("a note\nof two lines")
        terminal.until(lambda: "of two lines" in terminal.shown)
        board.finished("gw1", "done")
        board.event(HostEvent("gw2", "failed", "health", "Ask", "no answer"))
        board.finished("gw2", "failed")
    terminal.read()
    assert terminal.shown == [
        "a note",
        "of two lines",
        "canary (1 of 1)   2 of 2 hosts through   bad: 0 (allowed: 0)   0s",
        "rollout 20261122T153000Z-ab12cd",
        "canary    2 hosts      0s  1 done, 1 failed",
        "  gw1  done             0s",
        "  gw2  failed           0s  no answer (proving that it answers)",
    ]
    assert "\x1b[31mfailed" in terminal.text


def test_without_a_rollout_nothing_is_left_but_what_was_noted(terminal: Terminal) -> None:
    with LiveView(STEPS, terminal.stream) as board:
        board.phase("Looking at 2 hosts")
        board.note("kept")
        board.event(HostEvent("gw1", "start", "probe", "Look"))
        terminal.until(lambda: len(terminal.shown) == 3)
    terminal.read()
    assert terminal.shown == ["kept"]


@pytest.mark.usefixtures("clock")
def test_hostile_text_moves_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with LiveView(STEPS, terminal.stream) as board:
        board.phase(EVIL)
        board.progress(EVIL, EVIL, EVIL, 1, 2)
        begin(board)
        board.note(EVIL)
        board.event(HostEvent(EVIL, "failed", EVIL, EVIL, EVIL + "\n" + EVIL))
        terminal.until(lambda: any("failed" in row for row in terminal.shown))
    terminal.read()
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.text)
    assert terminal.shown[0] == "gw[bold red]???"
    row = next(row for row in terminal.shown if "failed  " in row)
    assert row.startswith("  gw[bold red]???  failed           0s  gw[bold red]??? gw[bold red]???")


def test_nothing_is_written_when_nothing_changed(terminal: Terminal) -> None:
    screen = Screen(terminal.stream, colour=True)
    rows = [(("one", "title"),), (("two", ""),)]
    screen.show(rows)
    assert "one" in terminal.read()
    screen.show(rows)
    assert terminal.read() == ""
    screen.show([rows[0], (("three", ""),)])
    assert "one" not in terminal.read()
    assert terminal.shown == ["one", "three"]
    screen.show(rows[:1])
    terminal.read()
    assert terminal.shown == ["one"]


def test_a_terminal_that_became_narrower_is_repainted_from_where_the_board_began(terminal: Terminal) -> None:
    screen = Screen(terminal.stream, colour=True)
    screen.show([(("x" * 79, ""),), (("short", ""),)])
    terminal.read()
    terminal.resize(40, 24)
    screen.show([(("narrow", ""),)])
    new = os.read(terminal.master, 4096).decode()
    assert new.startswith("\x1b[?2026h\r\x1b[3A\x1b[J")


def test_a_bake_counts_down_although_nobody_says_anything(terminal: Terminal, clock: list[float]) -> None:
    with LiveView(STEPS, terminal.stream) as board:
        begin(board)
        board.finished("gw1", "done")
        board.bake(CANARY, 60.0)
        terminal.until(lambda: "bake: 1m00s left" in terminal.shown)
        clock[0] += 1.0
        terminal.until(lambda: "bake: 59s left" in terminal.shown)
        clock[0] += 1.0
        terminal.until(lambda: "bake: 58s left" in terminal.shown)


def test_a_terminal_that_goes_away_stops_nothing(terminal: Terminal) -> None:
    with LiveView(STEPS, terminal.stream) as board:
        begin(board)
        terminal.until(lambda: "canary" in terminal.text)
        os.close(terminal.master)
        terminal.master = -1
        for _ in range(10):
            board.finished("gw1", "done")
            time.sleep(0.05)


def test_a_terminal_that_takes_nothing_holds_nobody_up(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.2)
    began = time.monotonic()
    with LiveView(STEPS, terminal.stream) as board:
        board.note("x" * 200_000)
        time.sleep(0.5)  # the thread that draws is stuck by now
        for number in range(10_000):
            board.event(HostEvent(f"gw{number % 200}", "start", "artifact", "Push"))
    assert time.monotonic() - began < 30
    while board._drawer.is_alive():
        terminal.read()


def test_the_board_needs_a_terminal_that_can_redraw(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.stream)
    found = {}
    for name in ("xterm", "dumb", ""):
        monkeypatch.setenv("TERM", name)
        found[name] = type(progress_view("table")).__name__
    assert found == {"xterm": "LiveView", "dumb": "PlainView", "": "PlainView"}
    assert type(progress_view("json")).__name__ == "JsonView"
