"""Sockets from systemd: taken, checked, and answered on even by an engine that cannot start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import DEADLINE, SOURCE, Engine, everything, python
from conftest import HERE

from phi4_engine import activation
from phi4_engine.errors import EX_CONFIG

# As systemd does it: the files are numbered from 3 on, and the process keeps its number.
HAND_OVER = """
import os, sys
count, given = int(sys.argv[1]), [int(word) for word in sys.argv[2].split(",")]
for index, number in enumerate(given):
    os.dup2(number, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="phi4-edge.socket")
os.execv(sys.argv[3], sys.argv[3:])
"""
FAKE = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400"}


def handed(*channels: int, environ: dict[str, str], command: list[str], count: int | None = None) -> Engine:
    """An engine to which these open files are handed over; it is started above the numbers that they get."""
    moved = [os.dup(os.dup2(number, 100 + index)) for index, number in enumerate(channels)]
    words = [str(count if count is not None else len(channels)), ",".join(map(str, moved))]
    try:
        return Engine([sys.executable, "-c", HAND_OVER, *words, *command], environ, pass_fds=moved, close_fds=True)
    finally:
        for number in {*moved, *(100 + index for index in range(len(channels)))}:
            os.close(number)


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A socket that the test holds as systemd does."""
    with socket.create_server(("127.0.0.1", 0)) as channel:
        yield channel


def number(channel: socket.socket) -> str:
    return str(channel.getsockname()[1])


def test_the_port_is_never_free_while_engines_come_and_go(port: socket.socket) -> None:
    environ = {**FAKE, "PHI4_PORT": number(port)}
    for _ in range(2):
        engine = handed(port.fileno(), environ=environ, command=python(HERE / "fake_main.py"))
        try:
            engine.wait_for(200)
            assert engine.chat("hi").status == 200
            links = [path.readlink() for path in Path(f"/proc/{engine.worker_pid()}/fd").iterdir()]
            assert not any(str(link).startswith("socket:") for link in links), "the model process has no socket"
            assert b"LISTEN_" not in Path(f"/proc/{engine.worker_pid()}/environ").read_bytes()
            engine.process.kill()
            engine.wait()
            with socket.socket() as squatter:
                squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    squatter.bind(("127.0.0.1", int(number(port))))
        finally:
            engine.close()


def test_a_socket_that_is_handed_over_sends_small_answers_at_once(port: socket.socket) -> None:
    """asyncio sets TCP_NODELAY where the protocol is named, on what is accepted too."""
    with activation._listening(os.dup(port.fileno()), "phi4-edge.socket") as taken:
        assert taken.proto == socket.IPPROTO_TCP
        with socket.create_connection(port.getsockname()), taken.accept()[0] as client:
            assert client.proto == socket.IPPROTO_TCP


def test_a_request_that_waits_while_nobody_listens_is_answered(port: socket.socket) -> None:
    with socket.create_connection(port.getsockname()) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        engine = handed(
            port.fileno(), environ={**FAKE, "PHI4_PORT": number(port)}, command=python(HERE / "fake_main.py")
        )
        try:
            client.settimeout(DEADLINE)
            assert everything(client).startswith(b"HTTP/1.1 200 ")
        finally:
            engine.close()


def test_sockets_of_another_process_are_left_alone(port: socket.socket) -> None:
    environ = {**FAKE, "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    engine = Engine(python(HERE / "fake_main.py"), environ)
    try:
        engine.wait_for(200)
        assert engine.port != port.getsockname()[1]
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("family", "kind", "told"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "a socket that does not listen"),
        (socket.AF_INET, socket.SOCK_DGRAM, "a socket of AF_INET and SOCK_DGRAM"),
        (socket.AF_UNIX, socket.SOCK_STREAM, "a socket of AF_UNIX and SOCK_STREAM"),
        (None, None, "no socket"),
    ],
)
def test_what_is_no_listening_tcp_socket_is_refused(family: int | None, kind: int, told: str) -> None:
    wrong = os.open("/dev/null", os.O_RDONLY) if family is None else socket.socket(family, kind).detach()
    try:
        engine = handed(wrong, environ={"PHI4_MODEL_DIR": "/"}, command=python("-m", "phi4_engine"))
    finally:
        os.close(wrong)
    try:
        assert engine.wait() == EX_CONFIG
        assert f"systemd handed over file 3 (phi4-edge.socket): found {told}, needed a listening TCP" in engine.log
        assert engine.log.count("\n") == 1
    finally:
        engine.close()


@pytest.mark.parametrize("count", [17, 999, 1000, 2**40])
def test_an_absurd_number_of_files_is_refused(port: socket.socket, count: int) -> None:
    engine = handed(port.fileno(), environ={"PHI4_MODEL_DIR": "/"}, command=python("-m", "phi4_engine"), count=count)
    try:
        assert engine.wait() == EX_CONFIG
        assert "LISTEN_FDS is" in engine.log
    finally:
        engine.close()


def test_an_engine_that_cannot_start_sends_away_who_waits_and_starts_no_loop(port: socket.socket) -> None:
    """Whoever is not accepted would have the socket start the service anew, as often as it ends."""
    program = (
        "import sys; from phi4_engine import refusal; refusal.HOLD_SECONDS = 2.0; "
        "refusal.turn_away.__defaults__ = (2.0,); from phi4_engine.__main__ import main; sys.exit(main())"
    )
    with socket.create_connection(port.getsockname()) as waiting, socket.create_connection(port.getsockname()):
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        started = time.monotonic()
        engine = handed(port.fileno(), environ={}, command=python("-c", program))
        try:
            waiting.settimeout(DEADLINE)
            found = everything(waiting)
            assert engine.wait() == EX_CONFIG
        finally:
            engine.close()
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"its settings or model files are unusable" in found
    assert time.monotonic() - started >= 2, "it stays a while for those that come next"
    port.settimeout(0)
    with pytest.raises(BlockingIOError):
        port.accept()


def test_a_graph_that_cannot_be_run_is_a_fault_of_the_files(
    port: socket.socket, model_dir: Path, tmp_path: Path
) -> None:
    """It shows in the model process, when the server has run and is closed again."""
    damaged = Path(shutil.copytree(model_dir, tmp_path / "model"))
    graph = damaged / "model.onnx"
    named = graph.read_bytes()
    graph.unlink()
    graph.write_bytes(named.replace(b"attention_mask", b"attention_musk"))
    environ = {"PHI4_MODEL_DIR": str(damaged), "PHI4_CONTEXT_LENGTH": "256", "PHI4_PORT": number(port)}
    engine = handed(port.fileno(), environ=environ, command=python("-m", "phi4_engine"))
    try:
        assert engine.wait() == EX_CONFIG, engine.log
        assert "its inputs differ by attention_mask, attention_musk" in engine.log
        assert "Traceback" not in engine.log
    finally:
        engine.close()


def test_without_anybody_waiting_it_ends_at_once(port: socket.socket) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PHI4_MODEL_DIR": "/nonexistent"}
    engine = handed(port.fileno(), environ=environ, command=python("-m", "phi4_engine"))
    try:
        assert engine.process.wait(20) == EX_CONFIG
    except subprocess.TimeoutExpired:
        engine.close()
        raise
    engine.close()
