"""The live board's frames: what is shown of many hosts in few rows, and that it is text of one row each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.report.text import cells
from phi4_edge.runner.run import HostEvent
from phi4_edge.view.board import Board
from phi4_edge.view.frame import frame
from phi4_edge.view.view import STEPS

ID = "20261122T153000Z-ab12cd"


def fleet(*sizes: int) -> tuple[Wave, ...]:
    """Waves of so many hosts; the first is the canary."""
    waves, first = [], 1
    for number, size in enumerate(sizes):
        hosts = tuple(f"gw{host:03d}" for host in range(first, first + size))
        waves.append(Wave(f"wave {number}" if number else "canary", number, hosts))
        first += size
    return tuple(waves)


def begun(*sizes: int) -> tuple[Board, tuple[Wave, ...]]:
    """A rollout whose canary is at work since second 0."""
    board, waves = Board(STEPS), fleet(*sizes)
    board.rollout(ID, waves, "10%", 0.0)
    board.wave(waves[0], 0.0)
    return board, waves


def work(board: Board, host: str, at: float, role: str = "artifact", task: str = "Push") -> None:
    board.take(HostEvent(host, "start", role, task), at)


def shown(board: Board, now: float, width: int = 80, height: int = 24) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in frame(board, width, height, now)]


def test_a_small_fleet_is_shown_whole_in_its_order() -> None:
    board, waves = begun(1, 2)
    work(board, "gw001", 1.0)
    assert shown(board, 5.9) == [
        "canary (1 of 2)   0 of 3 hosts through   bad: 0 (allowed: 10%)   5s",
        f"rollout {ID}",
        "canary     1 host      5s  1 running",
        "  gw001  running          4s  receiving files: Push",
        "wave 1    2 hosts          2 waiting",
        "  gw002  waiting",
        "  gw003  waiting",
    ]
    board.end("gw001", "done", 70.0)
    board.bake(waves[0], 60.0, 70.0)
    assert shown(board, 71.0)[1:4] == [
        "bake: 59s left",
        "canary     1 host   1m11s  1 baking",
        "  gw001  baking        1m09s",
    ]
    assert shown(board, 131.0)[1] == "bake: time is up, last check of the hosts"


def test_finished_waves_take_a_row_each_and_those_to_come_share_theirs() -> None:
    board, waves = begun(2, 30, 30, 30, 30, 30)
    for wave in waves[:4]:
        board.wave(wave, 100.0 * wave.number)
        for host in wave.hosts:
            board.end(host, "done", 100.0 * wave.number + 50)
    board.wave(waves[4], 400.0)
    work(board, "gw093", 401.0)
    lines = shown(board, 402.0)
    assert lines[2:6] == [
        "canary to wave 1   32 hosts   3m20s  32 done",
        "wave 2             30 hosts   1m40s  30 done",
        "wave 3             30 hosts   1m40s  30 done",
        "wave 4             30 hosts      2s  1 running, 29 waiting",
    ]
    assert lines[6].split() == ["gw093", "running", "1s", "receiving", "files:", "Push"]
    assert lines[-2:] == ["  and 15 more: 15 waiting", "wave 5             30 hosts          30 waiting"]
    assert len(lines) == 23


def test_hosts_in_trouble_stay_in_sight_and_leave_room_for_those_at_work() -> None:
    board, waves = begun(5, 195)
    board.end("gw002", "done", 1.0)
    board.take(HostEvent("gw001", "failed", "health", "Ask", "no answer"), 2.0)
    board.end("gw001", "rolled_back", 3.0)
    board.wave(waves[1], 10.0)
    for host in waves[1].hosts:
        work(board, host, 11.0)
    for host in waves[1].hosts[50:]:
        board.take(HostEvent(host, "failed", "health", "Ask", "no answer"), 12.0)
        board.end(host, "rolled_back", 12.0)
    board.spent(146, True, 12.0)
    lines = shown(board, 13.0)
    assert lines[0].startswith("wave 1 (2 of 2)   147 of 200 hosts through   bad: 146 (allowed: 10%), stop")
    assert sum("  rolled back  " in line for line in lines) == 10
    assert sum("  running  " in line for line in lines) == 8
    assert lines[3] == "  gw001  rolled back      0s  no answer (proving that it answers)"
    assert lines[-1] == "  and 178 more: 42 running, 136 rolled back"


def test_a_host_that_holds_the_others_up_comes_first_with_the_time_of_its_task() -> None:
    board, waves = begun(100)
    for host in waves[0].hosts:
        work(board, host, 0.0)
    for host in waves[0].hosts[:99]:
        work(board, host, 60.0, "health", "Ask")
    assert shown(board, 65.0)[3].split(None, 3) == ["gw100", "running", "1m05s", "receiving files 1m05s: Push"]


def test_hosts_that_wait_for_others_say_so_and_come_after_them() -> None:
    board, waves = begun(40)
    for host in waves[0].hosts:
        work(board, host, 0.0)
    for host in waves[0].hosts[:39]:
        board.take(HostEvent(host, "ok", "artifact", "Push"), 1.0)
    assert shown(board, 2.9)[3].split(None, 3) == ["gw001", "running", "2s", "receiving files: Push"]
    assert [line.split(None, 3) for line in shown(board, 3.1)[3:5]] == [
        ["gw040", "running", "3s", "receiving files: Push"],
        ["gw001", "running", "3s", "waits after receiving files: Push"],
    ]
    work(board, "gw001", 4.0, "health", "Ask")
    assert shown(board, 9.0)[3].split(None, 3)[3] == "proving that it answers: Ask"


def test_a_host_that_goes_back_says_what_went_wrong_before() -> None:
    board, _ = begun(1)
    board.take(HostEvent("gw001", "failed", "health", "Ask", "no\nanswer"), 1.0)
    assert shown(board, 1.0)[3].split(None, 3) == ["gw001", "failed", "0s", "no answer (proving that it answers)"]
    work(board, "gw001", 2.0, "service", "Go back")
    assert shown(board, 2.0)[3].split(None, 3) == ["gw001", "running", "1s", "switching the release after: no answer"]


def test_a_watched_host_is_what_it_was_when_nothing_else_was_said() -> None:
    board, waves = begun(2, 1)
    for host in waves[0].hosts:
        board.end(host, "done", 10.0)
    board.bake(waves[0], 60.0, 10.0)
    work(board, "gw001", 11.0, "health", "Watch")
    board.end("gw002", "unhealthy", 20.0)
    assert [board.lines[host].state for host in ("gw001", "gw002")] == ["baking", "unhealthy"]
    board.spent(1, False, 70.0)
    assert [board.lines[host].state for host in ("gw001", "gw002")] == ["done", "unhealthy"]
    assert board.lines["gw001"].seconds(500.0) == 59.0


def test_a_good_host_that_is_worked_on_again_goes_back() -> None:
    board, _ = begun(2)
    for host in ("gw001", "gw002"):
        work(board, host, 1.0)
        board.end(host, "done" if host == "gw001" else "rolled_back", 9.0)
    board.spent(1, True, 9.0)
    work(board, "gw001", 10.0, "service", "Roll back")
    lines = shown(board, 11.0)
    assert lines[2].endswith("  1 going back, 1 rolled back")
    assert lines[3].split(None, 4) == ["gw001", "going", "back", "10s", "switching the release: Roll back"]
    board.end("gw001", "reverted", 12.0)
    assert shown(board, 13.0)[3].split() == ["gw001", "taken", "back", "11s"]


def test_at_the_end_nobody_waits_and_no_time_goes_on() -> None:
    board, _ = begun(1, 1)
    work(board, "gw001", 1.0)
    board.end("gw001", "interrupted", 5.0)
    board.close(6.0)
    assert shown(board, 6.0)[2:] == shown(board, 500.0)[2:]
    assert shown(board, 6.0)[-1].split() == ["gw002", "not", "begun"]


def test_hosts_in_no_wave_are_kept_only_with_their_trouble() -> None:
    board = Board(STEPS)
    work(board, "gw001", 0.0, "probe")
    work(board, "gw009", 0.0, "probe")
    board.end("gw008", "unreachable", 1.0)
    board.rollout(ID, fleet(2), "0", 2.0)
    lines = shown(board, 3.0)
    assert [line.split()[0] for line in lines[2:]] == ["in", "gw008", "canary", "gw001", "gw002"]
    assert lines[-2].split() == ["gw001", "waiting"]


def test_check_mode_has_a_wave_and_no_rollout() -> None:
    board, (wave,) = Board(STEPS), fleet(2)
    board.phase("Checking 2 hosts", 0.0)
    board.wave(wave, 0.0)
    work(board, "gw001", 1.0)
    board.end("gw001", "done", 2.0)
    board.spent(0, False, 2.0)
    assert [line.split() for line in shown(board, 3.0)] == [
        ["Checking", "2", "hosts"],
        ["gw001", "done", "1s"],
        ["gw002", "waiting"],
    ]
    assert board.place == "canary"


def test_without_a_rollout_hosts_at_work_come_first_and_the_rest_is_counted() -> None:
    board = Board(STEPS)
    board.phase("Looking at 200 hosts", 0.0)
    for number in range(200):
        work(board, f"gw{number}", 1.0, "probe", "Look")
    board.end("gw0", "done", 2.0)
    lines = shown(board, 3.0)
    assert lines[0] == "Looking at 200 hosts"
    assert lines[1].split() == ["gw1", "running", "2s", "looking:", "Look"]
    assert lines[-1] == "  and 179 more: 178 running, 1 done"
    assert len(lines) == 23


STATES = st.sampled_from([*Outcome, "start", "failed", "bake", "wave"])
TEXT = st.text(max_size=300) | st.sampled_from(["\x1b[2J[bold red]", "\u202eabc", "\u4e2d" * 200, "a\u0301" * 400])


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    told=st.lists(st.tuples(st.integers(0, 320), STATES, TEXT), max_size=60),
    size=st.tuples(st.integers(1, 220), st.integers(1, 60)),
)
def test_a_frame_fits_and_hides_nothing_uncounted(
    sizes: list[int], told: list[tuple[int, str, str]], size: tuple[int, int]
) -> None:
    board, waves = begun(*sizes)
    hosts = [host for wave in waves for host in wave.hosts]
    actions: dict[str, Callable[[str, str], object]] = {
        "start": lambda host, text: work(board, host, 1.0, text, text),
        "failed": lambda host, text: board.take(HostEvent(host, "failed", text, text, text), 1.0),
        "bake": lambda host, text: board.bake(waves[len(text) % len(waves)], 5.0, 1.0),
        "wave": lambda host, text: board.wave(waves[len(text) % len(waves)], 1.0),
    }
    for number, state, text in told:
        host = hosts[number % len(hosts)]
        actions.get(state, lambda host, text, state=state: board.end(host, state, 1.0))(host, text)  # type: ignore[misc]
    rows = ["".join(text for text, _ in row) for row in frame(board, *size, 2.0)]
    assert len(rows) <= max(size[1] - 1, 0)
    for row in rows:
        assert cells(row) < max(size[0], 21)
        assert not {unicodedata.category(char) for char in row} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    if size[1] >= 30 and size[0] >= 100:  # every host of the wave that is worked on is shown or counted
        current = board.group(board.current) if board.current else []
        more = [row.split()[1] for row in rows if row.startswith("  and ")]
        assert sum(row.split()[0] in {line.host for line in current} for row in rows) + sum(map(int, more)) >= len(
            current
        )


@pytest.mark.parametrize("height", range(1, 12))
def test_a_low_terminal_shows_the_most_telling_rows(height: int) -> None:
    board, waves = begun(3, 50, 50)
    board.wave(waves[1], 1.0)
    for host in waves[1].hosts:
        work(board, host, 2.0)
    lines = shown(board, 3.0, height=height)
    assert len(lines) == height - 1
    assert not lines or lines[0].startswith("wave 1 (2 of 3)")
