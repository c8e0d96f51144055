"""The lock on a host: who gets it, who waits, and when a dead run's is taken over. Real processes, a folder as host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, hostrun, load

lock = load("lock", "lock")
hostlock, state = sys.modules["hostlock"], sys.modules["hostlockstate"]
OURS = {"user": "ada", "host": "desk", "pid": 11, "operation": "provision", "version": "1", "heartbeat_seconds": 0.2}
NOBODY = {"boot_id": "another", "pid": 1, "start": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a host has its lock; its keepers are gone afterwards."""
    monkeypatch.setattr(hostlock, "BEAT", str(tmp_path / "beat.json"))
    monkeypatch.setattr(hostlock, "GUARD", str(tmp_path / "guard"))
    monkeypatch.setattr(hostrun, "LOCK", str(tmp_path / "scripts"))
    for module, name in ((hostlock, "TICK"), (lock, "POLL")):
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr(lock, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(lock, "must_be_root", lambda uid: None)
    yield tmp_path / "state"
    # They see that it is gone. Asking beat.json for one forgets those that had not beaten yet.
    shutil.rmtree(tmp_path / "state", ignore_errors=True)


@pytest.fixture
def connection() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when the connection of a run does, as that of sshd."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def keeper(folder: Path) -> Any:
    return (state.lock_read(str(folder / "beat.json")) or {}).get("keeper")


def watched(process: subprocess.Popen[bytes]) -> list[int]:
    found = state.lock_process(process.pid)
    assert found is not None
    return [process.pid, found[2]]


def take(folder: Path, name: str, watch: list[int] | None = None, stale: float = 30, **more: Any) -> dict[str, Any]:
    wish = {**OURS, "id": name, "stale_seconds": stale, "asked": 0.0}
    args = {"wish": wish, "folder": str(folder), "controller": NOBODY, "wait": 0, **more}
    with pytest.MonkeyPatch.context() as patch:
        if watch:
            patch.setattr(hostlock, "ancestor", lambda controller: watch)
        return dict(lock.take(args, b""))


def release(folder: Path, name: str) -> dict[str, Any]:
    return dict(lock.release({"wish": {"id": name}, "folder": str(folder)}, b""))


def until(folder: Path, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state of the lock as soon as that is so; half a minute is for a busy machine."""
    end = time.monotonic() + 30
    while not seen(found := hostlock.state(str(folder))):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return dict(found)


def test_it_is_taken_once_and_released(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    assert take(folder, "a", watched(connection))["state"] == "taken"
    found = hostlock.state(str(folder))
    assert (found["state"], found["id"], found["user"], found["operation"]) == ("held", "a", "ada", "provision")
    second = take(folder, "b", watched(connection))
    assert second["state"] == "held"
    assert {"id": "a", "user": "ada", "host": "desk", "pid": 11, "state": "held"}.items() <= second["holder"].items()
    assert release(folder, "b") == {"released": False}
    assert hostlock.state(str(folder))["state"] == "held"
    process = keeper(folder.parent)
    assert state.lock_lives(process)
    assert release(folder, "a") == {"released": True}
    assert not folder.exists()
    assert not Path(hostlock.BEAT).exists()
    deadline = time.monotonic() + 30
    while state.lock_lives(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not state.lock_lives(process)


def test_the_folder_stays_where_something_was_installed(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    take(folder, "a", watched(connection))
    (folder / "receipt.json").write_text("{}")
    release(folder, "a")
    assert [path.name for path in folder.iterdir()] == ["receipt.json"]


def test_the_keeper_beats_while_the_connection_lives(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    take(folder, "a", watched(connection))
    time.sleep(1.2)  # without a beat it would be older than that
    assert until(folder, lambda found: found["age"] < 0.5)["state"] == "held"


def test_a_dead_run_is_taken_over_when_its_lock_is_stale_and_not_before(
    folder: Path, connection: subprocess.Popen[bytes]
) -> None:
    take(folder, "a", watched(connection), stale=3.0)
    time.sleep(0.5)
    connection.kill()
    connection.wait()
    killed = time.monotonic()
    second = take(folder, "b", watched_self(), stale=3.0)
    assert second["state"] == "taken"
    assert second["taken_from"]["id"] == "a"
    assert 2.7 <= time.monotonic() - killed < 30
    assert hostlock.state(str(folder))["id"] == "b"


def watched_self() -> list[int]:
    found = state.lock_process(os.getpid())
    assert found is not None
    return [os.getpid(), found[2]]


def test_a_stale_lock_is_left_while_a_step_of_its_run_works(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    take(folder, "a", watched(connection), stale=0.2)
    connection.kill()
    connection.wait()
    until(folder, lambda found: found["state"] == "stale")
    with hostrun.idle() as idle:
        assert idle
        held = take(folder, "b", watched_self(), stale=0.2)
    assert (held["state"], held["holder"]["state"]) == ("held", "working")
    assert take(folder, "b", watched_self(), stale=0.2)["state"] == "taken"


def test_the_same_run_takes_it_again_at_once(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    take(folder, "a", watched(connection))
    connection.kill()
    connection.wait()
    until(folder, lambda found: found["state"] != "held")
    began = time.monotonic()
    assert take(folder, "a", watched_self())["state"] == "taken"
    assert time.monotonic() - began < 15  # it is stale after 30
    assert hostlock.state(str(folder))["state"] == "held"


def test_the_same_run_in_another_process_that_lives_is_held(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    here, there = {**NOBODY, "pid": 2}, {**NOBODY, "pid": 3}
    assert take(folder, "a", watched(connection), controller=here)["state"] == "taken"
    hostlock.renew({"id": "a", "folder": str(folder), "controller": here})
    assert take(folder, "a", watched_self(), controller=there)["state"] == "held"
    connection.kill()
    connection.wait()
    assert take(folder, "a", watched_self(), controller=there, wait=5)["state"] == "taken"
    with pytest.raises(hostlib.HostError, match="another run took over"):
        hostlock.renew({"id": "a", "folder": str(folder), "controller": here})


def test_a_living_run_is_waited_for_as_long_as_wanted(folder: Path, connection: subprocess.Popen[bytes]) -> None:
    take(folder, "a", watched(connection))
    began = time.monotonic()
    assert take(folder, "b", watched_self(), wait=0.6)["state"] == "held"
    assert 0.6 <= time.monotonic() - began < 30
    ender = subprocess.Popen([sys.executable, "-c", RELEASE, str(folder)])
    found = take(folder, "b", watched_self(), wait=20)
    assert ender.wait() == 0
    assert found["state"] == "taken"
    assert found["waited_for"]["id"] == "a"
    assert found["taken_from"] is None


RELEASE = "import os, sys, time; time.sleep(0.5); os.unlink(os.path.join(sys.argv[1], 'lock'))"


def test_a_controller_that_is_known_to_be_dead_is_not_waited_for_longer_than_its_lock(
    folder: Path, connection: subprocess.Popen[bytes]
) -> None:
    take(folder, "a", watched(connection), stale=0.5)
    began = time.monotonic()
    assert take(folder, "b", watched_self(), stale=0.5, gone="a")["state"] == "taken"
    assert 0.4 <= time.monotonic() - began < 15  # also on a busy machine


def test_after_a_reboot_the_lock_ends_some_time_after_the_host_started(folder: Path) -> None:
    folder.mkdir()
    left = {**OURS, "id": "a", "stale_seconds": 30, "boot_id": "an earlier boot", "at": 1e9}
    (folder / "lock").write_text(json.dumps(left))
    found = hostlock.state(str(folder))
    assert found["state"] == "stale"  # this machine runs for longer than that
    assert take(folder, "b", watched_self())["state"] == "taken"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00\xff", '{"id": 5, "stale_seconds": "long", "at": {}}'])
def test_a_damaged_lock_locks_nobody_out(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "lock").write_bytes(text.encode("latin-1"))
    assert hostlock.state(str(folder))["state"] == "stale"
    assert take(folder, "b", watched_self())["state"] == "taken"


def test_a_user_without_root_is_told_so() -> None:
    with pytest.raises(hostlib.HostError, match=r"found uid 1000 .* needed root"):
        lock.must_be_root(1000)
    lock.must_be_root(0)


def test_two_that_begin_at_once_have_one_winner(folder: Path) -> None:
    folder.mkdir()
    script = (
        "import os, sys; sys.path[:0] = sys.argv[4:6]; import hostlock\n"
        "hostlock.BEAT, hostlock.GUARD = (sys.argv[3] + name for name in ('/beat.json', '/guard'))\n"
        "with hostlock.guard():\n"
        "    if not hostlock.state(sys.argv[1])['present']:\n"
        "        hostlock.claim({'id': sys.argv[2], 'watch': hostlock.ancestor({})}, sys.argv[1]); print('won')\n"
    )
    roles = Path(hostlock.__file__).parent
    argv = [sys.executable, "-c", script, str(folder)]
    racing = [
        subprocess.Popen([*argv, str(n), str(folder.parent), str(roles), str(roles)], stdout=subprocess.PIPE, text=True)
        for n in range(12)
    ]
    assert sorted(process.communicate(timeout=60)[0] for process in racing) == [""] * 11 + ["won\n"]


def test_it_is_taken_away_from_a_dead_run_and_from_a_living_one_by_force_only(
    folder: Path, connection: subprocess.Popen[bytes]
) -> None:
    take(folder, "a", watched(connection))
    args = {"folder": str(folder), "force": False}
    refused = lock.clear(args, b"")
    assert (refused["released"], refused["holder"]["id"]) == (False, "a")
    assert lock.clear({**args, "force": True}, b"")["released"] is True
    assert lock.clear(args, b"") == {"released": False, "holder": {"present": False}, "working": False}
    take(folder, "b", watched(connection))
    connection.kill()
    connection.wait()
    time.sleep(0.3)
    assert lock.clear(args, b"")["released"] is True


def test_a_run_that_lost_its_lock_to_another_changes_nothing_more(
    folder: Path, connection: subprocess.Popen[bytes]
) -> None:
    take(folder, "a", watched(connection))
    hostlock.renew({"id": "a", "folder": str(folder)})
    with pytest.raises(hostlib.HostError, match=r"ada@desk .*another run took over"):
        hostlock.renew({"id": "b", "folder": str(folder)})
    lock.clear({"folder": str(folder), "force": True}, b"")
    hostlock.renew({"id": "a", "folder": str(folder)})
    assert not folder.exists()


def test_a_script_begins_to_beat_again_for_a_run_whose_keeper_ended(
    folder: Path, connection: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(folder, "a", watched(connection))
    connection.kill()
    connection.wait()
    time.sleep(0.3)
    assert hostlock.state(str(folder))["state"] == "ending"
    monkeypatch.setattr(hostlock, "ancestor", lambda controller: watched_self())
    hostlock.renew({"id": "a", "folder": str(folder)})
    found = hostlock.state(str(folder))
    assert found["state"] == "held"
    assert found["left"] > 200, "its connection is not shared by its tasks: it may think longer between two of them"


def test_a_connection_that_nobody_can_watch_gets_a_lock_that_is_stale_much_later(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostlock, "SERVERS", ())
        assert take(folder, "a", stale=30)["state"] == "taken"
    found = hostlock.state(str(folder))
    assert found["state"] == "held"
    assert found["left"] > 200


def test_on_the_controller_itself_the_process_of_the_play_is_watched() -> None:
    found = state.lock_process(os.getppid())
    assert found is not None
    play = {"boot_id": state.lock_boot(), "pid": os.getppid(), "start": found[2]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostlock, "SERVERS", ())
        assert hostlock.ancestor(play) == [os.getppid(), found[2]]
        assert hostlock.ancestor({**play, "boot_id": "another"})[0] == os.getpid()
        assert hostlock.ancestor({**play, "start": 1})[0] == os.getpid()
        # The login over SSH of whoever called the play goes on after it.
        patch.setattr(hostlock, "SERVERS", tuple(name for name, *_ in [state.lock_process(found[1])] if name))
        assert hostlock.ancestor(play) == [os.getppid(), found[2]]
        patch.setattr(hostlock, "SERVERS", (found[0],))
        assert hostlock.ancestor({})[0] in (os.getpid(), os.getppid())
