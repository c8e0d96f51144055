"""A gateway that lies about its lock, or does not answer for it, beside an innocent one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.lab import faults
from tests.e2e.fleet import BY_ANSIBLE, Fleet, Fleets, rows
from tests.e2e.gateway import Gateway, run_processes

pytestmark = pytest.mark.e2e

HOSTILE, INNOCENT = HOSTS = ("gw1", "gw2")
PYTHON = "/usr/local/bin/hostile-python"
STANDIN = Path(__file__).parents[1] / "standins" / "hostile_python.py"
# Of all processes of a run together, in bytes: one of them holds what a host floods it with until its time is over.
MEMORY = 400e6
ONE_WAVE = ("--canary", "0", "--wave", "100%", "--bake", "0")
# Behaviour, operation, options; outcome of the hostile host and of the innocent one; exit code.
ROWS = (
    ("held take", ("--bake", "0"), "locked", "untouched", 6),
    ("held take", ("--bake", "0", "--max-failures", "1"), "locked", "done", 6),
    ("held take", ("--bake", "0", "--skip-locked"), "locked", "done", 6),
    ("held take", (*ONE_WAVE, "--max-failures", "0"), "locked", "done", 6),
    ("odd take", (*ONE_WAVE, "--max-failures", "1"), "failed", "done", 4),
    ("liar take", (*ONE_WAVE, "--max-failures", "1"), "failed", "done", 4),
    ("silent release", (*ONE_WAVE, "--max-failures", "1"), "failed", "done", 4),
    ("drip release", (*ONE_WAVE, "--max-failures", "1"), "failed", "done", 4),
    ("flood release", (*ONE_WAVE, "--max-failures", "1"), "failed", "done", 4),
)
ALWAYS = {ROWS[1]}
SECONDS = 180  # for a run beside a host that is not waited for; an honest one takes about a minute here


@pytest.fixture(scope="module")
def pair(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("hostile")
    with fleets.lend(folder, 2) as found:
        found.host(HOSTILE).sh(f"cat > {PYTHON}; chmod 755 {PYTHON}", stdin=STANDIN.read_text())
        behave(found, "")
        found.variables = {HOSTILE: {"ansible_python_interpreter": PYTHON, **BY_ANSIBLE}}
        yield found


@pytest.fixture
def gateways(pair: Fleet) -> list[Gateway]:
    return [pair.host(name) for name in HOSTS]


@pytest.fixture(autouse=True)
def honest_again(pair: Fleet) -> Iterator[None]:
    yield
    behave(pair, "")
    faults.execute(pair.lab, HOSTILE, ["sh", "-c", "pkill -KILL -f hostile-pytho[n]; rm -f /var/lib/phi4-edge/lock"])


def behave(pair: Fleet, how: str) -> None:
    pair.host(HOSTILE).sh("cat > /etc/phi4-edge-hostile", stdin=f"{how}\n" if how else "")


def locked(pair: Fleet, name: str) -> bool:
    return faults.execute(pair.lab, name, ["test", "-e", "/var/lib/phi4-edge/lock"]).returncode == 0


def memory(pid: int) -> int:
    """Bytes that the run of this command uses now, all its processes together."""
    total = 0
    for one in {pid, *run_processes(pid)}:
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


@pytest.mark.parametrize(("how", "options", "hostile", "innocent", "code"), rows(ROWS, ALWAYS))
def test_a_host_decides_for_itself_alone(
    pair: Fleet, how: str, options: tuple[str, ...], hostile: str, innocent: str, code: int
) -> None:
    pair.next_release()
    behave(pair, how)
    begin = time.monotonic()
    done = pair.run("provision", "--yes", "--output", "json", *options).expect(code)
    assert time.monotonic() - begin < SECONDS
    assert done.outcomes() == {HOSTILE: hostile, INNOCENT: innocent}
    told = {host["host"]: host["reason"] or "" for host in done.result["hosts"]}
    if hostile == "locked":
        assert "according to this host" in told[HOSTILE]
        assert not {"\x1b", "{", "\n"} & set(told[HOSTILE])
        assert "@hq" not in told[INNOCENT], "what one host says is not told of another"
    assert not locked(pair, INNOCENT)
    if innocent == "done":
        assert pair.host(INNOCENT).receipt()["context_length"] == pair.context


@pytest.mark.parametrize("command", rows(("rollback", "remove"), ()))
def test_the_other_commands_go_on_beside_it_too(pair: Fleet, command: str) -> None:
    pair.next_release()
    pair.run("provision", "--yes", *ONE_WAVE).expect(0)
    behave(pair, "held take")
    done = pair.run(command, "--yes", "--output", "json", "--skip-locked").expect(6)
    assert done.outcomes() == {HOSTILE: "locked", INNOCENT: "done"}
    assert not locked(pair, INNOCENT)


@pytest.mark.parametrize("twice", rows((False, True), (True,)))
@pytest.mark.parametrize("how", rows(("flood", "drip", "silent"), ("flood",)))
def test_an_interrupted_run_does_not_wait_for_it(pair: Fleet, how: str, twice: bool) -> None:
    """Neither the task that it is asked in ends, nor the giving back; the innocent host is free in seconds."""
    pair.next_release()
    behave(pair, f"{how} take\n{how} release")
    process = pair.cli.start("provision", *pair.inventories, "--yes", "--output", "json", *ONE_WAVE)
    assert process.stdout is not None
    assert any('"role": "lock"' in line for line in process.stdout)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    begin, most = time.monotonic(), 0
    if twice:
        time.sleep(1.5)  # it is giving locks back by then
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
    while process.poll() is None and time.monotonic() - begin < 60:
        most = max(most, memory(process.pid))
        time.sleep(0.2)
    took = time.monotonic() - begin
    assert process.wait(1) == 130
    process.stdout.close()
    assert took < (3 if twice else 15), took
    assert run_processes(process.pid) == set()
    assert most < MEMORY
    assert twice or not locked(pair, INNOCENT)
