"""A worker that says or does what none should costs its own hosts' time, and nothing of this controller."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call
from phi4_edge.runner.run import RunResult
from phi4_edge.runner.workers import client
from phi4_edge.runner.workers import pool as workers
from phi4_edge.runner.workers.client import WorkerJob
from phi4_edge.runner.workers.link import Hello, Link, WorkerLostError
from phi4_edge.runner.workers.pool import Pool, Worker

DEAF = ["sleep", "600"]


def run(argv: list[str], inventory: str = "", cancelled: bool = False) -> RunResult:
    job = WorkerJob("work", ("a",), inventory)
    return client.execute(Link("w1", argv), job, lambda event: None, lambda: cancelled)


def saying(folder: Path, words: bytes) -> list[str]:
    """A worker that says just that, and listens to the end."""
    (folder / "words").write_bytes(words)
    return ["sh", "-c", f"cat '{folder}/words'; exec cat >/dev/null"]


@pytest.mark.parametrize(
    "words",
    [
        b"[]\n", b"5\n", b'"status"\n', b"\xff\n", b"[" * 100_000 + b"\n", b'{"status": 1, "rc": []}\nno json\n',
        b'{"counter": [], "uuid": 1}\n{"zipfile": -1}\n', b'{"zipfile": 12}\nUEsDBBQAAAAI\n',
    ],
    ids=["list", "number", "text", "bytes", "deep", "status", "event", "files"],
)  # fmt: skip
def test_what_is_no_event_is_the_loss_of_the_worker(tmp_path: Path, words: bytes) -> None:
    with pytest.raises(WorkerLostError, match="lost worker w1: "):
        run(saying(tmp_path, words))


def test_files_are_not_unpacked_here(tmp_path: Path) -> None:
    with pytest.raises(WorkerLostError, match="files, which nobody asked for"):
        run(saying(tmp_path, b'{"zipfile": 12}\nUEsDBBQAAAAI\n{"eof": true}\n'))


def test_an_interruption_does_not_wait_for_a_worker_that_does_not_read() -> None:
    began = time.monotonic()
    assert run(DEAF, "x" * 4_000_000, cancelled=True).cancelled
    assert time.monotonic() - began < 60  # the worker would sleep for ten times as long


def test_a_worker_that_does_not_take_its_job_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_TAKING", 0.5)
    with pytest.raises(WorkerLostError, match="it said nothing for"):
        run(DEAF, "x" * 4_000_000)


def test_a_machine_without_ssh_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(target: str) -> tuple[Link, Hello]:
        raise FileNotFoundError(2, "No such file or directory", "ssh")

    def here(self: Pool, worker: Worker | None, *others: object) -> RunResult:
        return RunResult({}, False, 0) if worker is None else real(self, worker, *others)  # type: ignore[arg-type]

    real, told = Pool.run, list[str]()
    monkeypatch.setattr(workers, "connect", connect)
    monkeypatch.setattr(Pool, "run", here)
    monkeypatch.setattr(Pool, "_portable", lambda self: None)
    pool = Pool(Access(()), [Worker("w1", "/s", 1)], note=told.append)
    assert pool.execute(Call("work"), ("a",), lambda event: None, lambda: False).exit_status == 0
    assert "No such file" in told[0]
