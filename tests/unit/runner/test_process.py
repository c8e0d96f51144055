"""Which processes belong to a run: exactly those, and none that only looks so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phi4_edge.runner.process import MARKER, family, reap

ENV = {"PATH": "/usr/bin:/bin"}
NOBODY = 65534


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that are gone afterwards."""
    made: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, **more: object) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(argv, start_new_session=True, **more))  # type: ignore[call-overload]
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[bytes]]


def until(found: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not found() and time.monotonic() < end:
        time.sleep(0.02)
    return found()


def test_every_process_of_a_run_is_reaped_and_no_other(tmp_path: Path, started: Start) -> None:
    run = tmp_path / f"phi4-edge-run-{os.getpid()}-testtest"
    script = (
        "import os, subprocess, time\n"
        "os.setsid()\n"
        "subprocess.Popen(['sleep', '4321'], env={}, start_new_session=True)\n"
        "time.sleep(4321)\n"
    )
    head = subprocess.Popen([sys.executable, "-c", script], env={**ENV, MARKER: run.name})
    stranger = started("sleep", "4321")
    try:
        assert until(lambda: len(family(run)) == 2)
        assert head.pid in family(run)
        assert reap(run) == set()
        assert family(run) == set()
        assert stranger.poll() is None
    finally:
        head.kill()
        head.wait()


def test_a_shared_connection_is_known_by_its_title(tmp_path: Path, started: Start) -> None:
    """ssh writes its title over its environment; the marker is no longer there."""
    run = tmp_path / "phi4-edge-run-1-abcdefgh"
    title = f"ssh: {run}/cp/0123456789 [mux]"
    ours = started(title, "4321", executable="/bin/sleep", env=ENV)
    assert family(run) == set()  # with an argument behind it, it is no title
    ours = started(title, executable="/bin/cat", stdin=subprocess.PIPE, env=ENV)
    assert until(lambda: family(run) == {ours.pid})
    assert reap(run) == set()


@pytest.mark.parametrize(
    "argv",
    [
        ("sleep", "4321", "{run}"),  # an editor or a shell of the operator
        ("ssh: {run}1/cp/x [mux]",),
        ("ssh: {run}/cp/x/y [mux]",),
        ("ssh: /elsewhere{run}/cp/x [mux]",),
        ("{run}",),
    ],
    ids=str,
)
def test_who_only_says_the_name_is_no_process_of_the_run(tmp_path: Path, started: Start, argv: tuple[str, ...]) -> None:
    run = tmp_path / "phi4-edge-run-1-abcdefgh"
    words = [word.replace("{run}", str(run)) for word in argv]
    program = "/bin/sleep" if words[0] == "sleep" else "/bin/cat"
    process = started(*words[:2], executable=program, stdin=subprocess.PIPE, env={**ENV, "OLDPWD": str(run)})
    assert until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(words[0].encode()))
    assert family(run) == set()


def test_a_name_that_another_one_begins_with_is_another_run(tmp_path: Path, started: Start) -> None:
    process = started("sleep", "4321", env={**ENV, MARKER: "phi4-edge-run-123-abcdefgh"})
    assert until(lambda: family(tmp_path / "phi4-edge-run-123-abcdefgh") == {process.pid})
    for other in ("phi4-edge-run-12", "phi4-edge-run-123-", "phi4-edge-run-123-abcdefgh2", "phi4-edge-run", ""):
        assert family(tmp_path / other) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_what_another_user_s_process_says_does_not_count(tmp_path: Path, started: Start) -> None:
    run = tmp_path / "phi4-edge-run-1-abcdefgh"
    process = started("sleep", "4321", env={**ENV, MARKER: run.name}, user=NOBODY, group=NOBODY, extra_groups=[])
    titled = started(f"ssh: {run}/cp/x [mux]", executable="/bin/cat", stdin=subprocess.PIPE, user=NOBODY, group=NOBODY)
    assert until(lambda: MARKER.encode() in Path(f"/proc/{process.pid}/environ").read_bytes())
    assert reap(run) == set()
    assert (process.poll(), titled.poll()) == (None, None)


def test_nothing_of_a_run_is_left_when_its_controller_is_killed() -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "from phi4_edge.runner.private import private_directory\n"
        "from phi4_edge.runner.process import MARKER\n"
        "with private_directory({'become_password': 'c4nary'}) as path:\n"
        "    env = {**os.environ, MARKER: path.name}\n"
        "    subprocess.Popen(['sleep', '4321'], env=env, start_new_session=True)\n"
        "    print(path, flush=True)\n"
        "    time.sleep(60)\n"
    )
    controller = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert controller.stdout is not None
    path = Path(controller.stdout.readline().strip())
    assert family(path)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    assert until(lambda: not family(path) and not path.exists())
